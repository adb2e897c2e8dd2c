"""Runs chosen, sorted and found by an id."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from udonx.common.words import plural
from udonx.config.problems import ConfigError, Problem
from udonx.records.runs import RunInfo, State, read_all

SortKey = Literal["experiment", "row", "seed", "state", "r1", "minutes", "when"]

_SHORTEST_PREFIX = 3  # letters of a stage's id


def runs(
    results: str | Path = "results",
    *,
    experiment: str | None = None,
    setting: str | None = None,
    row: str | None = None,
    seed: int | None = None,
    state: State | None = None,
    sort: SortKey = "when",
    reverse: bool = False,
) -> list[RunInfo]:
    """The runs of a results folder: each row and seed that was started, with its state.

    A row that was started again, with the same stages, is one run. Nothing is written, and nothing
    needs images, weights, plug-ins or the experiment file.

    Args:
        results: the results folder.
        experiment: only of this experiment file, by its name without `.toml`.
        setting: only of this setting.
        row: only of this row.
        seed: only of this training seed.
        state: only in this state.
        sort: by what they are sorted; those that lack it come last.
        reverse: whether the order is turned round.

    Raises:
        ConfigError: there is no such folder.

    Example:
        [run.why for run in udonx.runs("results", state="failed")]
    """
    given = {"experiment": experiment, "row": row, "seed": seed, "state": state}
    wanted = {name: value for name, value in given.items() if value is not None}
    chosen = [
        run
        for run in read_all(results_folder(results))
        if all(getattr(run, name) == value for name, value in wanted.items())
        and setting in (None, run.setting, run.setting.partition("+")[0])
    ]
    return sorted_runs(chosen, sort, reverse=reverse)


def results_folder(results: str | Path) -> Path:
    """A results folder that is there.

    Raises:
        ConfigError: it is not.
    """
    if Path(results).is_dir():
        return Path(results)
    message = "there is no such folder; give the one that `udonx run` was given"
    raise ConfigError([Problem(where=f"--results {results}", message=message)])


def sorted_runs(
    chosen: Sequence[RunInfo], sort: SortKey, *, reverse: bool = False
) -> list[RunInfo]:
    """Runs in order; equal ones stay as they are, those that lack the value come last."""
    value: Callable[[RunInfo], Any] = operator.attrgetter(sort)
    there = [run for run in chosen if value(run) is not None]
    lacking = [run for run in chosen if value(run) is None]
    return [*sorted(there, key=value, reverse=reverse), *lacking]


def find_run(runs: Sequence[RunInfo], identity: str) -> RunInfo:
    """The run of an id.

    Args:
        runs: all runs of a results folder.
        identity: the number of a Sacred run; or the id of the last stage of a run, or the beginning
            of one.

    Raises:
        ConfigError: no run has it, or several have.
    """
    if found := [run for run in runs if identity in run.attempts]:
        return found[-1]
    long_enough = len(identity) >= _SHORTEST_PREFIX
    found = [
        run for run in runs if long_enough and run.stages and run.stages[-1].id.startswith(identity)
    ]
    if len(found) == 1:
        return found[0]
    raise ConfigError([Problem(where=identity, message=_not_one(identity, found, runs))])


def _not_one(identity: str, found: Sequence[RunInfo], runs: Sequence[RunInfo]) -> str:
    """Why an id is not that of one run."""
    if found:
        which = ", ".join(f"{run.id} ({run.title})" for run in found)
        return f"{plural(len(found), 'run')} have this id: {which}; give one of these numbers"
    users = [run.id for run in runs if any(stage.id.startswith(identity) for stage in run.stages)]
    if users and len(identity) >= _SHORTEST_PREFIX:
        return f"this stage is an earlier one of run {', '.join(users)}; give one of these numbers"
    return (
        "there is no such run; an id is a number of `udonx runs`, a stage's id, or at least"
        f" {_SHORTEST_PREFIX} letters that begin only one"
    )

"""Searches for the options of rows that validate best, each row with the same number of trials."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import attrs

from udonx.common.options import evolve_each
from udonx.common.words import display_path
from udonx.config.experiment import Experiment
from udonx.config.keys import TuneOptions
from udonx.config.problems import ConfigError, Problem
from udonx.config.selection import WHOLE, Selection
from udonx.config.settings import read_setting
from udonx.config.typed import table_options, validate
from udonx.inputs.load import Files, load, one_or_all
from udonx.running.options import DEFAULTS, RunOptions

if TYPE_CHECKING:
    from udonx.running.tuned import Tuned

logger = logging.getLogger(__name__)


@overload
def tune(
    files: str | Path,
    selection: Selection = ...,
    options: RunOptions = ...,
    *,
    trials: int | None = ...,
    output: Path | str | None = ...,
    force: bool = ...,
    retry_failed: bool = ...,
    **changes: Any,
) -> Tuned: ...


@overload
def tune(
    files: Sequence[str | Path],
    selection: Selection = ...,
    options: RunOptions = ...,
    *,
    trials: int | None = ...,
    output: Path | str | None = ...,
    force: bool = ...,
    retry_failed: bool = ...,
    **changes: Any,
) -> list[Tuned]: ...


def tune(
    files: Files,
    selection: Selection = WHOLE,
    options: RunOptions = DEFAULTS,
    *,
    trials: int | None = None,
    output: Path | str | None = None,
    force: bool = False,
    retry_failed: bool = False,
    **changes: Any,
) -> Tuned | list[Tuned]:
    """Try values of `[tune.space]` for each row, and write a file with those that validate best.

    The first trial of a row is the row as its file has it. Trials are stages like any others: what
    is trained already is not trained again, and a call that was killed goes on with the same
    trials. Nothing that only a test reads is opened.

    Args:
        files: one experiment file with `[tune]`, or several; a folder stands for those in it.
        selection: which of their rows are tuned, on which setting.
        options: how it is run; it has no `fresh` and no `fail_fast`.
        trials: trials of each row, in place of the file's.
        output: the file that is written; default: FILE.tuned.toml beside the file.
        force: write over a file that was edited.
        retry_failed: try trials again that failed in an earlier call; else they count as failed.
        changes: fields of `selection` and `options`, by name.

    Returns:
        What was tried and chosen, of one file; a list for several or for a folder.

    Raises:
        ConfigError: everything that is wrong, found before anything is trained.
        RowsNotTuned: all trials of some row failed; raised at the end, when the files are written.
        Stopped: SIGINT or SIGTERM has come, after a checkpoint.

    Example:
        udonx.tune("my_question.toml", trials=4).row("udon").values
    """
    selection, options = evolve_each(changes, selection, options)
    experiments = _load(files, selection, options, trials)
    paths = _outputs(experiments, selection, output, force)
    # torch takes seconds to import: what is wrong with the files is told before
    from udonx.running.errors import RowsNotTuned
    from udonx.running.tuned import Tuned
    from udonx.running.tuning import run_tuning

    tuned = [
        Tuned(path=path, rows=rows, experiment=experiment, selection=selection)
        for experiment, path, rows in zip(
            experiments,
            paths,
            run_tuning(experiments, options, retry_failed=retry_failed),
            strict=True,
        )
    ]
    for each in tuned:
        each.write()
    if any(row.best is None for each in tuned for row in each.rows):
        raise RowsNotTuned(tuned)
    return one_or_all(files, tuned)


def plan_tuning(
    files: Files,
    selection: Selection = WHOLE,
    options: RunOptions = DEFAULTS,
    *,
    trials: int | None = None,
    retry_failed: bool = False,
    **changes: Any,
) -> str:
    """What `tune` would train, a line for each row, and how long that takes; trains nothing.

    Args:
        files: experiment files with `[tune]` or folders of them, or one.
        selection: which of their rows are tuned, on which setting.
        options: how it would be run.
        trials: trials of each row, in place of the file's.
        retry_failed: count trials that failed in an earlier call as left.
        changes: fields of `selection` and `options`, by name.

    Raises:
        ConfigError: everything that is wrong.
    """
    selection, options = evolve_each(changes, selection, options)
    experiments = _load(files, selection, options, trials)
    from udonx.running.tuning import forecast_tuning

    return forecast_tuning(experiments, options, retry_failed=retry_failed)


def _load(
    files: Files, selection: Selection, options: RunOptions, trials: int | None
) -> list[Experiment]:
    """The experiments, of which only those rows are wanted that have something to tune.

    Raises:
        ConfigError: everything that is wrong with the files, or with the options of the call.
    """
    problems = [
        Problem(where=f"--{name}", message="is no option of tune; give it to `udonx run`")
        for name, given in (("fresh", options.fresh), ("fail-fast", options.fail_fast))
        if given
    ]
    if trials is not None:
        wrong = validate(table_options(TuneOptions), {"trials": trials})[1]
        problems += [Problem(where="--trials", message=message) for _, message in wrong]
    if problems:
        raise ConfigError(problems)
    experiments = []
    for experiment in load(files, selection):
        try:
            experiments.append(_with_trials(experiment, trials))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return experiments


def _with_trials(experiment: Experiment, trials: int | None) -> Experiment:
    """An experiment with so many trials, and with the rows that are tuned alone."""
    tuning = experiment.tuning
    if tuning is None:
        message = (
            "is missing; say what to try, such as [tune.space] with optimiser.lr_heads = { low ="
            " 1e-4, high = 1e-2, log = true }"
        )
        raise ConfigError(
            [Problem(where=display_path(experiment.path), key="tune", message=message)]
        )
    if problems := [*tuning.problems(), *tuning.overridden(experiment.overrides)]:
        raise ConfigError(problems)
    if trials is not None:
        tuning = attrs.evolve(tuning, trials=trials)
    wanted = [row for row in experiment.wanted_rows() if not row.skipped]
    own = [row for row in wanted if row.name in tuning.spaces and row.spec.recipe is not None]
    if not own:
        message = "names nothing that is trained in any of the rows"
        raise ConfigError([Problem(where=tuning.where, key="tune.space", message=message)])
    for row in own:
        tuning.make_search(row.name)
    for row in wanted:
        if row not in own:
            logger.info(f"{row.name}: [tune.space] names nothing that it trains; it stays as it is")
    selected = tuple(row.name for row in own)
    return attrs.evolve(experiment, tuning=tuning, selected=selected)


def _outputs(
    experiments: Sequence[Experiment],
    selection: Selection,
    output: Path | str | None,
    force: bool,
) -> list[Path]:
    """Where the tuned files are written.

    Raises:
        ConfigError: one may not be written there, or could not be run there.
    """
    from udonx.running.tuned import path_problem, tuned_path

    if output is not None and len(experiments) > 1:
        message = f"is for one experiment file, got {len(experiments)}; leave it out"
        raise ConfigError([Problem(where="--output", message=message)])
    paths = [tuned_path(each, Path(output) if output else None) for each in experiments]
    problems = [found for path in paths if (found := path_problem(path, force=force))]
    if selection.setting is not None:
        for path in paths:
            try:
                read_setting(selection.setting, path)
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(problems)
    return paths

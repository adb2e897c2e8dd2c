"""Runs experiments: from files to tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from udonx.common.options import evolve_each
from udonx.config.selection import WHOLE, Selection
from udonx.inputs.load import Files, load, one_or_all
from udonx.running.events import Listener
from udonx.running.options import DEFAULTS, RunOptions

if TYPE_CHECKING:
    from udonx.tables.table import Table


@overload
def run(
    files: str | Path,
    selection: Selection = ...,
    options: RunOptions = ...,
    *,
    listen: Listener | None = ...,
    **changes: Any,
) -> Table: ...


@overload
def run(
    files: Sequence[str | Path],
    selection: Selection = ...,
    options: RunOptions = ...,
    *,
    listen: Listener | None = ...,
    **changes: Any,
) -> list[Table]: ...


def run(
    files: Files,
    selection: Selection = WHOLE,
    options: RunOptions = DEFAULTS,
    *,
    listen: Listener | None = None,
    **changes: Any,
) -> Table | list[Table]:
    """Run experiments: train what is missing, evaluate what is missing, return the tables.

    Args:
        files: one experiment file, or several; a folder stands for those in it.
        selection: what of them is run.
        options: how it is run. What the results folder holds already is not trained again.
        listen: is called with every event of the run (udonx/running/events.py); without it a
            terminal where `log_to_stderr` was called shows the run as it goes on.
        changes: fields of `selection` and `options`, by name.

    Returns:
        The table of one file, a list for several or for a folder.

    Raises:
        ConfigError: everything that is wrong, found before anything is trained.
        RowsFailed: some rows failed, with a sentence for each; raised at the end, when all others
            are done. It holds the tables.
        Stopped: SIGINT or SIGTERM has come, after a checkpoint. It is a KeyboardInterrupt, and ends
            a program that does not catch it with the status 130 or 143. Called outside the main
            thread, `run` leaves signals alone; a handler that the caller has set stays.
        TrainingError, DataError, ...: with `fail_fast`, what went wrong; what was earned is kept.

    Example:
        udonx.run("table3_ablation", setting="smoke").row("udon").r1.mean
    """
    selection, options = evolve_each(changes, selection, options)
    experiments = load(files, selection)
    # torch takes seconds to import: what is wrong with the files is told before
    from udonx.running.experiments import run_experiments

    return one_or_all(files, run_experiments(experiments, options, listen))

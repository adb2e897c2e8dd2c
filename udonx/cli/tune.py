"""`udonx tune`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from udonx.cli.arguments import Files
from udonx.common.words import display_path
from udonx.config.selection import WHOLE, Selection
from udonx.running.errors import RowsNotTuned
from udonx.running.options import (
    DEFAULTS,
    CheckpointMinutes,
    DeviceName,
    ResultsFolder,
    RunOptions,
    Workers,
)
from udonx.running.tune import plan_tuning
from udonx.running.tune import tune as tune_files

if TYPE_CHECKING:
    from udonx.running.tuned import Tuned

Trials = Annotated[
    int | None, Parameter(metavar="N", help="trials of each row, in place of the file's")
]
Output = Annotated[
    Path | None, Parameter(metavar="FILE", help="what is written (default: FILE.tuned.toml)")
]
Force = Annotated[bool, Parameter(help="write over a tuned file that was edited")]
RetryFailed = Annotated[bool, Parameter(help="try trials again that failed in an earlier call")]
ShowPlan = Annotated[bool, Parameter("--plan", help="only say what it would train, and how long")]


def tune(
    files: Files,
    /,
    *,
    selection: Selection = WHOLE,
    trials: Trials = None,
    output: Output = None,
    force: Force = False,
    retry_failed: RetryFailed = False,
    show_plan: ShowPlan = False,
    results: ResultsFolder = DEFAULTS.results,
    device: DeviceName = None,
    checkpoint_minutes: CheckpointMinutes = DEFAULTS.checkpoint_minutes,
    workers: Workers = None,
) -> None:
    """Make the trials of each row, print them, and write the best values as a file."""
    options = RunOptions(
        results=results, device=device, checkpoint_minutes=checkpoint_minutes, workers=workers
    )
    if show_plan:
        print(plan_tuning(files, selection, options, trials=trials, retry_failed=retry_failed))
        return
    try:
        tuned = tune_files(
            files,
            selection,
            options,
            trials=trials,
            output=output,
            force=force,
            retry_failed=retry_failed,
        )
    except RowsNotTuned as failed:
        _print(failed.tuned)
        raise
    _print(tuned)


def _print(tuned: Sequence[Tuned]) -> None:
    for each in tuned:
        print(f"\n{each.to_text()}\n\nwritten: {display_path(each.path)}", flush=True)

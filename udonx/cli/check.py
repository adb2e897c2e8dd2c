"""`udonx check`."""

from __future__ import annotations

from udonx.cli.arguments import Files
from udonx.common.words import plural
from udonx.config.selection import WHOLE, Selection
from udonx.running.check import check as check_files
from udonx.running.options import DEFAULTS, DeviceName, ResultsFolder, RunOptions


def check(
    files: Files,
    /,
    *,
    selection: Selection = WHOLE,
    results: ResultsFolder = DEFAULTS.results,
    device: DeviceName = None,
) -> None:
    """Print one line for each experiment in which no problem was found."""
    options = RunOptions(results=results, device=device)
    for experiment in check_files(files, selection, options):
        count = sum(not row.skipped for row in experiment.wanted_rows())
        print(
            f"{experiment.path}: {plural(count, 'row')} on setting '{experiment.setting}':"
            " no problem found"
        )

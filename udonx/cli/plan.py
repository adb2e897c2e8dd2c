"""`udonx plan`."""

from __future__ import annotations

import shutil
from typing import Annotated

from cyclopts import Parameter

from udonx.cli.arguments import Files
from udonx.config.selection import WHOLE, Selection
from udonx.running.options import DEFAULTS, DeviceName, Fresh, ResultsFolder, RunOptions
from udonx.running.plan import plan as plan_files

Measure = Annotated[
    bool, Parameter(help="time a few steps of whatever this machine has not measured yet")
]


def plan(
    files: Files,
    /,
    *,
    selection: Selection = WHOLE,
    results: ResultsFolder = DEFAULTS.results,
    device: DeviceName = None,
    fresh: Fresh = False,
    measure: Measure = False,
) -> None:
    """Print one line per stage, rows beside it, and the sum of what is left to train."""
    options = RunOptions(results=results, device=device, fresh=fresh)
    listing = plan_files(files, selection, options, measure=measure)
    print(listing.to_text(shutil.get_terminal_size((120, 24)).columns))

"""`udonx report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from udonx.running.options import DEFAULTS
from udonx.running.report import report as write_report

Results = Annotated[
    Path, Parameter(name="RESULTS", help="the results folder of runs (default: results)")
]
Out = Annotated[
    Path | None,
    Parameter(metavar="DIR", help="where the pages are written (default: RESULTS/report)"),
]


def report(results: Results = DEFAULTS.results, /, *, out: Out = None) -> None:
    """Print which page to open."""
    written = write_report(results, out)
    for problem in written.problems:
        print(f"left out: {problem}")
    print(written)

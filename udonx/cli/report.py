"""`udonx report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from udonx.running.options import DEFAULTS, DeviceName, Workers
from udonx.running.report import report as write_report

Results = Annotated[
    Path, Parameter(name="RESULTS", help="the results folder of runs (default: results)")
]
Out = Annotated[
    Path | None,
    Parameter(metavar="DIR", help="where the pages are written (default: RESULTS/report)"),
]
Data = Annotated[
    Path | None,
    Parameter(metavar="DIR", help="where the images lie now (default: where they were evaluated)"),
]
SearchAgain = Annotated[
    bool,
    Parameter(
        help="search again with the stored stages where an earlier version kept no neighbours;"
        " no figure changes"
    ),
]


def report(
    results: Results = DEFAULTS.results,
    /,
    *,
    out: Out = None,
    data: Data = None,
    galleries: SearchAgain = False,
    device: DeviceName = None,
    workers: Workers = None,
) -> None:
    """Print which page to open."""
    written = write_report(
        results, out, data=data, galleries=galleries, device=device, workers=workers
    )
    for problem in written.problems:
        print(f"left out: {problem}")
    print(written)

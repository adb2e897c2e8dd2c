"""`udonx doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from udonx.common.errors import FAILED
from udonx.running.doctor import examine
from udonx.running.options import DEFAULTS

Data = Annotated[Path | None, Parameter(metavar="DIR", help="a folder in UnED's layout to look at")]
Verify = Annotated[
    bool,
    Parameter(help="decode every image of the data folder, and name those that cannot be"),
]
Weights = Annotated[
    Path | None, Parameter(metavar="DIR", help="a folder of start weights to look at")
]
Results = Annotated[Path, Parameter(metavar="DIR", help="the results folder to look at")]


def doctor(
    *,
    data: Data = None,
    verify: Verify = False,
    weights: Weights = None,
    results: Results = DEFAULTS.results,
) -> int:
    """Print one line per finding; fails where something keeps udonx from running."""
    good = True
    for finding in examine(data=data, weights=weights, results=results, verify=verify):
        print(finding, flush=True)
        good &= finding.good
    return 0 if good else FAILED

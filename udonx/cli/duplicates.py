"""`udonx duplicates`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

IndexFolder = Annotated[Path, Parameter(name="INDEX", help="an index, or a folder of vectors")]
Threshold = Annotated[
    float,
    Parameter(
        metavar="SIMILARITY",
        help="from which on two images count as nearly the same, at most 1 (default: 0.98)",
    ),
]
Json = Annotated[bool, Parameter(help="print JSON")]


def duplicates(index: IndexFolder, /, *, threshold: Threshold = 0.98, json: Json = False) -> None:
    """Print the groups of images."""
    from udonx.search.duplicates import duplicates as find_duplicates

    found = find_duplicates(index, threshold)
    print(found.to_json() if json else found)

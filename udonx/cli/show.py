"""`udonx show`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from udonx.cli.arguments import Files
from udonx.config.selection import WHOLE, Selection
from udonx.running.show import show as show_files

Diff = Annotated[
    bool,
    Parameter(
        help="only what differs: the first row from the defaults, the others from it",
    ),
]


def show(files: Files, /, *, selection: Selection = WHOLE, diff: Diff = False) -> None:
    """Print each experiment in full, or what its rows change."""
    for text in show_files(files, selection, diff=diff):
        print(text)

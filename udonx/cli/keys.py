"""`udonx keys`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from udonx.config.lookup import keys as find_keys
from udonx.config.reference import describe_section, to_markdown

Name = Annotated[
    str | None,
    Parameter(
        name="TABLE",
        help="one table: file, row, setting, optimiser, budget, ... (default: all)",
    ),
]
Markdown = Annotated[
    bool,
    Parameter(help="print the whole reference, components included, as a page (docs/keys.md)"),
]


def keys(name: Name = None, /, *, markdown: Markdown = False) -> None:
    """Print one table of keys, all of them, or the page docs/keys.md."""
    if markdown:
        print(to_markdown(), end="")
    else:
        print("\n\n".join(map(describe_section, find_keys(name))))

"""The data sources that ship with udonx, imported by name where one is used (registry.sources)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from udonx.data.splits import nearest

Root = Annotated[str | None, Field(description="The folder of the data; `--data` replaces it.")]
"""Where a source that reads a folder finds it."""

DataSeed = Annotated[
    int,
    Field(
        ge=0,
        description=(
            "What the source draws follows from it: pictures, or the split of classes. The seeds of"
            " training do not touch it."
        ),
    ),
]
"""What a source that draws something draws it from."""


def unknown_domains(
    source: str, there: Sequence[str], wanted: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    """("domains", sentence) of each wanted domain that a source lacks, or that is named twice.

    Args:
        source: the source's name.
        there: the domains that it has.
        wanted: the domains that are to be used; None for all.

    Example:
        >>> list(unknown_domains("mine", ["cars"], ["carz"]))
        [('domains', "'mine' has no domain 'carz'; did you mean cars? There are: cars")]
    """
    for position, name in enumerate(wanted or ()):
        if name not in there:
            yield "domains", f"'{source}' has no domain '{name}'; {nearest(name, there)}"
        elif name in list(wanted or ())[:position]:
            yield "domains", f"the list of domains names '{name}' twice; name each domain once"

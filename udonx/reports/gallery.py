"""The gallery of a table: queries with their nearest neighbours."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from udonx.reports.source import TableSource


def write(source: TableSource, out: Path) -> Markup:
    """The gallery of one table as a fragment of its page.

    Args:
        source: the stored table, and the results folder that it was made from.
        out: the folder of the table's page; pictures are written below it.

    Returns:
        The HTML, or a sentence on why there is no gallery.
    """
    return Markup("<p>There is no gallery: {} keeps no neighbours of its queries.</p>").format(
        source.name
    )

"""The pages: HTML of the index and of one table, from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from udonx.reports.columns import columns_of
from udonx.reports.drawing import legend_mark
from udonx.reports.pairs import Pairs
from udonx.reports.source import TableSource
from udonx.reports.verdict import describe_result, format_difference, rank_rows
from udonx.tables.content import Difference
from udonx.tables.groups import all_seeds, first_rows, group_of

STATIC = ("report.css", "report.js", "gallery.css", "gallery.js")
"""What all pages share, as files beside the index."""


@attrs.frozen(kw_only=True)
class Section:
    """A part of a table's page.

    Attributes:
        key: its anchor.
        title: its heading.
        body: its HTML.
    """

    key: str
    title: str
    body: Markup


def static_file(name: str) -> str:
    """The text of one of `STATIC`."""
    return (resources.files("udonx.reports") / "static" / name).read_text()


def page_path(source: TableSource) -> str:
    """The page of a table, as seen from the index."""
    return f"tables/{source.name}/index.html"


def home_of(source: TableSource) -> str:
    """The report's folder, as seen from the page of a table."""
    return "../" * page_path(source).count("/")


def table_page(source: TableSource, pairs: Pairs, sections: Sequence[Section]) -> str:
    """The page of one table: what it says in words, its figures, then the sections."""
    table = source.table
    return render(
        "table.html.j2",
        source=source,
        table=table,
        home=home_of(source),
        verdict=describe_result(table, pairs),
        columns=columns_of(table),
        seeds=[_seeds(row.seeds) for row in table.rows],
        references=_default_references(source),
        shown=_shown_differences(source, pairs),
        differences=_plain(pairs),
        notes=[*pairs.notes, *table.missing, *table.footer, *table.about.lines()],
        sections=sections,
    )


def index_page(
    sources: Sequence[TableSource], pairs: Sequence[Pairs], problems: Sequence[str]
) -> str:
    """The page over all tables."""
    entries = [
        {
            "source": source,
            "href": page_path(source),
            "verdict": describe_result(source.table, each),
            "seeds": _seeds(all_seeds(source.table.rows)),
            "best": next((one.cell for one in rank_rows(source.table)), None),
        }
        for source, each in zip(sources, pairs, strict=True)
    ]
    return render("index.html.j2", home="", entries=entries, problems=problems)


def render(template: str, **values: Any) -> Markup:
    """What a template of this package says of some values."""
    return Markup(_environment().get_template(template).render(**values))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("udonx.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["difference"] = format_difference
    environment.filters["direction"] = direction
    environment.filters["mark"] = legend_mark
    return environment


def direction(difference: Difference) -> str:
    """Whether a difference is "better" or "worse" beyond noise, else "unclear"."""
    if difference.interval is None or difference.unclear:
        return "unclear"
    return "better" if difference.point > 0 else "worse"


def _default_references(source: TableSource) -> list[int | None]:
    """For each row the position of the row that the table compares it with; None without one."""
    rows = source.table.rows
    firsts = first_rows(rows)
    positions = {id(row): position for position, row in enumerate(rows)}
    return [
        positions[id(firsts[group_of(row)])] if group_of(row) in firsts else None for row in rows
    ]


def _shown_differences(source: TableSource, pairs: Pairs) -> list[Mapping[str, Difference]]:
    """The differences that stand on a page before a reader chooses a reference row."""
    first = next((i for i in _default_references(source) if i is not None), None)
    count = len(source.table.rows)
    return [pairs.of(row, first) if first is not None else {} for row in range(count)]


def _plain(pairs: Pairs) -> dict[str, dict[str, list[float | None]]]:
    """All differences as they are embedded in the page, in percentage points."""

    def points(value: float | None) -> float | None:
        return None if value is None else round(100 * value, 3)

    return {
        f"{later}-{earlier}": {
            column: [points(each.point), points(each.low), points(each.high)]
            for column, each in columns.items()
        }
        for (later, earlier), columns in pairs.found.items()
    }


def _seeds(seeds: Sequence[int | None]) -> str:
    return ", ".join(str(seed) for seed in seeds if seed is not None) or "–"

"""The columns of a table on a page: figures to show, to sort by and to rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from udonx.reports.pairs import domain_column
from udonx.tables.content import Cell, TableRow
from udonx.tables.groups import group_of
from udonx.tables.render import format_count, format_minutes
from udonx.tables.table import Table


@attrs.frozen(kw_only=True)
class Figure:
    """A figure on a page.

    Attributes:
        text: the mean, or what stands in its place.
        deviation: the standard deviation over seeds; empty where there is none.
        value: what the column is sorted by; None comes last.
        rank: "best" or "second" of the compared rows in its column, else empty.
        mark: what has to be said of it, in one character.
    """

    text: str
    deviation: str = ""
    value: float | None
    rank: str = ""
    mark: str = ""


@attrs.frozen(kw_only=True)
class Column:
    """A column of a table on a page.

    Attributes:
        key: names it, in the differences between rows too.
        label: its header.
        about: what it is, in a few words.
        figures: one for each row.
        compared: whether rows differ in it by a difference with an interval.
    """

    key: str
    label: str
    about: str
    figures: Sequence[Figure]
    compared: bool = False


def columns_of(table: Table) -> list[Column]:
    """All columns behind the label: metrics, domains by the first metric, validation, costs."""
    return [*_metrics(table), *_domains(table), *_validation(table), *_costs(table)]


def _metrics(table: Table) -> Iterator[Column]:
    for metric in table.metrics:
        cells = [row.metrics.get(metric.name) for row in table.rows]
        yield Column(
            key=metric.name,
            label=metric.label,
            about=f"{metric.label} in per cent, mean over domains",
            figures=_shares(table.rows, cells),
            compared=True,
        )


def _domains(table: Table) -> Iterator[Column]:
    metric = table.metrics[0]
    for domain in table.domains:
        cells = [row.in_domain(metric.name, domain) for row in table.rows]
        if not any(cells):
            continue
        figures = _shares(table.rows, cells)
        marks = [row.mark_of(domain) for row in table.rows]
        yield Column(
            key=domain_column(metric.name, domain),
            label=domain,
            about=f"{metric.label} of {domain} in per cent",
            figures=[
                attrs.evolve(figure, mark=mark) for figure, mark in zip(figures, marks, strict=True)
            ],
            compared=True,
        )


def _validation(table: Table) -> Iterator[Column]:
    if not table.validated:
        return
    cells = [row.validation for row in table.rows]
    yield Column(
        key="validation",
        label="val R@1",
        about="R@1 on the validation splits, by which the step was chosen",
        figures=[_share(cell) for cell in cells],
    )
    yield Column(
        key="best_step",
        label="best step",
        about="the step that validation chose, over seeds",
        figures=[
            Figure(
                text=row.best, value=max((s for s in row.best_steps if s is not None), default=None)
            )
            for row in table.rows
        ],
    )


def _costs(table: Table) -> Iterator[Column]:
    yield Column(
        key="steps",
        label="steps",
        about="steps of training, of all stages that the row needs",
        figures=[Figure(text=format_count(row.steps), value=row.steps) for row in table.rows],
    )
    yield Column(
        key="images",
        label="images",
        about="images seen in training, by all stages that the row needs",
        figures=[Figure(text=format_count(row.images), value=row.images) for row in table.rows],
    )
    yield Column(
        key="minutes",
        label="min",
        about="minutes of training, of all stages that the row needs",
        figures=[Figure(text=format_minutes(row.minutes), value=row.minutes) for row in table.rows],
    )


def _share(cell: Cell | None) -> Figure:
    if cell is None:
        return Figure(text="–", value=None)
    mean, _, deviation = cell.format("").partition("±")
    return Figure(text=mean, deviation=deviation, value=cell.mean)


def _shares(rows: Sequence[TableRow], cells: Sequence[Cell | None]) -> list[Figure]:
    """Cells as figures, the best and the second of the compared rows marked.

    Figures that look alike share a rank. A single compared row has none.
    """
    figures = [_share(cell) for cell in cells]
    groups = {group_of(row) for row in rows if not row.reference}
    for group in groups:
        competing = [
            position
            for position, (row, cell) in enumerate(zip(rows, cells, strict=True))
            if cell is not None and not row.reference and group_of(row) == group
        ]
        if len(competing) < 2:
            continue
        texts = sorted({figures[i].text for i in competing}, key=float, reverse=True)
        names = dict(zip(texts, ("best", "second"), strict=False))
        for position in competing:
            rank = names.get(figures[position].text, "")
            figures[position] = attrs.evolve(figures[position], rank=rank)
    return figures

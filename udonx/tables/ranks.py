"""Which rows are the best and the second of a column, among those that are compared."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence

from udonx.tables.content import Cell, Line, TableRow
from udonx.tables.groups import group_of

_FEWEST_FOR_SECOND = 3  # of two rows, the one that is not the best needs no mark


class Rank(enum.Enum):
    """The place of a figure in its column."""

    BEST = "best"
    SECOND = "second"


Column = Callable[[TableRow], Cell | None]
"""The cell of a row in a column; None where it has none."""


def mean_of(metric: str) -> Column:
    """The column of a metric's mean over domains."""
    return lambda row: row.metrics.get(metric)


def domain_of(metric: str, domain: str) -> Column:
    """The column of a metric in one domain."""
    return lambda row: row.in_domain(metric, domain)


def ranks(lines: Sequence[Line], column: Column) -> list[Rank | None]:
    """The place of each line in a column, within its index and backbone.

    Figures count as they are shown, with one decimal: equal ones have the same place. None has one
    where all are equal.

    Args:
        lines: those of a table.
        column: the column.
    """
    groups: dict[tuple[str, str], dict[int, float]] = {}
    for position, line in enumerate(lines):
        if line.ranked and (cell := column(line.row)) is not None:
            figures = groups.setdefault(group_of(line.row), {})
            figures[position] = round(100 * cell.mean, 1)
    found: list[Rank | None] = [None] * len(lines)
    for figures in groups.values():
        places = _places(figures.values())
        for position, figure in figures.items():
            found[position] = places.get(figure)
    return found


def _places(figures: Iterable[float]) -> dict[float, Rank]:
    """The figures that have a place.

    >>> _places([7.5, 7.4, 7.5, 7.1])
    {7.5: <Rank.BEST: 'best'>, 7.4: <Rank.SECOND: 'second'>}
    >>> _places([7.5, 7.4]), _places([7.5, 7.5])
    ({7.5: <Rank.BEST: 'best'>}, {})
    """
    figures = list(figures)
    different = sorted(set(figures), reverse=True)
    if len(different) < 2:
        return {}
    places = (Rank.BEST, Rank.SECOND) if len(figures) >= _FEWEST_FOR_SECOND else (Rank.BEST,)
    return dict(zip(different, places, strict=False))

"""The best and the second of a column."""

from __future__ import annotations

import attrs

from tests.udonx.tables.small import table, table_row
from udonx.tables.content import Cell, ReportedRow, TableRow
from udonx.tables.ranks import Rank, mean_of, ranks


def with_r1(name: str, r1: float, **more: object) -> TableRow:
    """A row of this R@1."""
    return attrs.evolve(table_row(name, seeds=1), metrics={"r1": Cell.of([r1])}, **more)


def places(*rows: TableRow, reported: tuple[ReportedRow, ...] = ()) -> list[Rank | None]:
    """The places of the lines of a table in R@1."""
    shown = attrs.evolve(table(*rows), reported=reported)
    return ranks(shown.lines, mean_of("r1"))


def test_figures_that_look_equal_share_a_place():
    """60.04 and 59.96 are both shown as 60.0, so both are the best."""
    found = places(with_r1("a", 0.6004), with_r1("b", 0.5), with_r1("c", 0.5996))
    assert found == [Rank.BEST, Rank.SECOND, Rank.BEST]


def test_only_rows_that_are_compared_have_a_place():
    """References, rows over other seeds and figures from elsewhere are never the best."""
    elsewhere = ReportedRow(
        name="a", label="a", reference=False, metrics={"r1": 0.99}, per_domain={}
    )
    rows = [
        with_r1("a", 0.6),
        with_r1("b", 0.5),
        with_r1("other seeds", 0.9, seeds=()),
        with_r1("reference", 0.8, reference=True),
    ]
    assert places(*rows, reported=(elsewhere,)) == [Rank.BEST, None, None, None, None]


def test_each_index_and_backbone_has_its_own_best():
    """A larger backbone does not take the place of the best with a small one."""
    rows = [with_r1(name, r1) for name, r1 in (("a", 0.5), ("b", 0.6), ("c", 0.7), ("d", 0.8))]
    large = [attrs.evolve(row, backbone="large") for row in rows[2:]]
    assert places(*rows[:2], *large) == [None, Rank.BEST, None, Rank.BEST]

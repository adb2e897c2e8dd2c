"""Tables that tests show: rows of high figures."""

from __future__ import annotations

import attrs

from udonx.tables.content import Cell, Difference, MetricColumn, TableRow
from udonx.tables.table import Table

DOMAINS = (
    "architecture",
    "clothing_and_shoes",
    "food",
    "gldv2_landmarks",
    "inaturalist",
    "met_artworks",
    "rp2k",
    "sop_products",
)

Interval = tuple[float, float] | None


def a_difference(point: float, interval: Interval = None) -> Difference:
    """A difference with its interval, or without one."""
    low, high = interval or (None, None)
    return Difference(point=point, low=low, high=high)


def table_row(
    name: str,
    *,
    seeds: int = 3,
    reference: bool = False,
    difference: float | None = None,
    interval: Interval = None,
    label: str = "",
    index: str = "merged",
    backbone: str = "main",
) -> TableRow:
    """A row of high figures over several seeds: the widest that there is."""
    figures = {domain: Cell.of([1.0 - 0.01 * seed for seed in range(seeds)]) for domain in DOMAINS}
    return TableRow(
        name=name,
        label=label or name,
        branch="student",
        index=index,
        backbone=backbone,
        reference=reference,
        seeds=tuple(range(seeds)),
        metrics={
            "r1": Cell.of([1.0, 0.75, 0.5][:seeds]),
            "mmp5": Cell.of([1.0, 0.8, 0.9][:seeds]),
        },
        per_seed={"r1": (1.0, 0.75, 0.5)[:seeds], "mmp5": (1.0, 0.8, 0.9)[:seeds]},
        differences={} if difference is None else {"r1": a_difference(difference, interval)},
        per_domain={"r1": figures, "mmp5": figures},
        own_metrics={"r1": Cell.of([0.9]), "mmp5": Cell.of([0.8])},
        steps=1_234_567,
        images=9_876_543,
        minutes=1234.5,
        evaluations=("e1",),
        stages=("s1", "s2"),
    )


def table(*rows: TableRow, domains: tuple[str, ...] = DOMAINS) -> Table:
    """A table of these rows."""
    footer = ("seeds 0, 1, 2; start weights: main " + "a/very/long/path/" * 8 + " (0123456789ab)",)
    return Table(
        title="Schemes",
        setting="demo",
        domains=domains,
        rows=rows,
        missing=("other: not run yet",),
        footer=footer,
    )


MORE = (
    MetricColumn(name="map_r", label="mAP@R"),
    MetricColumn(name="r1", label="R@1"),
    MetricColumn(name="mine", label="my | own"),
)


def with_metrics(metrics: tuple[MetricColumn, ...]) -> Table:
    """A table of two rows that shows these metrics; the second has but R@1 and mMP@5."""
    cells = {column.name: Cell.of([0.25, 0.5, 0.75]) for column in metrics}
    by_domain = {name: {domain: cell for domain in DOMAINS} for name, cell in cells.items()}
    full = attrs.evolve(table_row("full"), metrics=cells, per_domain=by_domain, own_metrics=cells)
    return attrs.evolve(table(full, table_row("less")), metrics=metrics)

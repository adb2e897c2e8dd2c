"""Every row of a table compared with every other, so that a reader can choose the reference row."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from udonx.reports.source import TableSource
from udonx.tables.compare import Comparisons
from udonx.tables.content import Difference

Differences = Mapping[str, Difference]
"""By column, a metric's name or `METRIC/DOMAIN`: a row's figure minus another row's."""


@attrs.frozen
class Pairs:
    """The differences between any two rows of a table.

    Attributes:
        found: by the positions of two rows, the later first, the differences of the later to the
            earlier. Rows of two indexes, and rows without a common seed, are not compared.
        notes: which intervals are not there, and why.
    """

    found: Mapping[tuple[int, int], Differences]
    notes: tuple[str, ...]

    def of(self, row: int, reference: int) -> Differences:
        """The differences of a row to another, by their positions; empty without any."""
        if row >= reference:
            return self.found.get((row, reference), {})
        return {
            column: _negated(difference)
            for column, difference in self.found.get((reference, row), {}).items()
        }


def compare_all(source: TableSource) -> Pairs:
    """Compare the rows of a stored table, by the stored figures of each query.

    The later row minus the earlier is computed, as in the table itself; the other is its negative.
    All metrics that are shown are compared, and the first of them in each domain too.
    """
    table, comparisons = source.table, Comparisons(source.results)
    found: dict[tuple[int, int], Differences] = {}
    for later, ours in enumerate(table.rows):
        for earlier, theirs in enumerate(table.rows[:later]):
            if ours.index != theirs.index:
                continue
            columns: dict[str, Difference] = {}
            for metric in table.metrics:
                difference = comparisons.compare(ours, theirs, metric)
                if difference is not None:
                    columns[metric.name] = difference
            first = table.metrics[0]
            by_domain = comparisons.compare_domains(ours, theirs, first)
            columns |= {domain_column(first.name, name): each for name, each in by_domain.items()}
            found[later, earlier] = columns
    return Pairs(found, tuple(comparisons.notes()))


def domain_column(metric: str, domain: str) -> str:
    """The name of the column with a metric of one domain."""
    return f"{metric}/{domain}"


def _negated(difference: Difference) -> Difference:
    low, high = difference.low, difference.high
    return Difference(
        point=-difference.point,
        low=None if high is None else -high,
        high=None if low is None else -low,
    )

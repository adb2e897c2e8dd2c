"""What a table says, in words: which row is best, by how much, and whether that is noise."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from udonx.common.words import plural
from udonx.reports.pairs import Differences, Pairs, domain_column
from udonx.tables.content import Cell, Difference, TableRow
from udonx.tables.groups import all_seeds, common_seeds, group_of
from udonx.tables.table import Table


@attrs.frozen(kw_only=True)
class Verdict:
    """What a table says.

    Attributes:
        headline: which row is best.
        leads: by how much, and whether that is noise.
        caveats: what else has to be known.
    """

    headline: str
    leads: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


@attrs.frozen(eq=False)
class RankedRow:
    """A row of a table that is ranked, with its position in the table and its figure."""

    position: int
    row: TableRow
    cell: Cell


def rank_rows(table: Table) -> list[RankedRow]:
    """The rows that are ranked by the table's first metric, the best first.

    They are those with the index and backbone of the first row that is compared; rows that are
    there for orientation are not ranked.
    """
    metric = table.metrics[0].name
    rows = [
        RankedRow(position, row, row.metrics[metric])
        for position, row in enumerate(table.rows)
        if not row.reference and metric in row.metrics
    ]
    group = [one for one in rows if group_of(one.row) == group_of(rows[0].row)]
    return sorted(group, key=lambda one: -one.cell.mean)


def describe_result(table: Table, pairs: Pairs) -> Verdict:
    """What a table says by its first metric."""
    ranked = rank_rows(table)
    if not ranked:
        return Verdict(headline=f"No row of this table can be ranked: {_why_unranked(table)}.")
    best, first = ranked[0], min(ranked, key=lambda one: one.position)
    label = table.metrics[0].label
    if len(ranked) == 1:
        headline = f"{best.row.label} is the only compared row: {label} {best.cell.format()}."
    else:
        headline = (
            f"{best.row.label} has the highest {label} of {len(ranked)} compared rows:"
            f" {best.cell.format()}."
        )
    rivals = [one for one in dict.fromkeys((*ranked[1:2], first)) if one is not best]
    leads = [
        _lead(best, rival, pairs.of(best.position, rival.position).get(table.metrics[0].name))
        for rival in rivals
    ]
    if best is not first:
        leads += _domains(pairs.of(best.position, first.position), table, first.row.label)
    return Verdict(headline=headline, leads=tuple(leads), caveats=tuple(_caveats(ranked, table)))


def _why_unranked(table: Table) -> str:
    if not table.rows:
        return "none has been evaluated yet"
    if all(row.reference for row in table.rows):
        return "all are there for orientation"
    return f"none that is compared has {table.metrics[0].label}"


def _lead(best: RankedRow, rival: RankedRow, difference: Difference | None) -> str:
    """How far the best row is ahead of another, and whether that is noise."""
    name = rival.row.label
    if difference is None:
        return f"It cannot be compared with {name}: they have no seed in common."
    points = format_points(abs(difference.point))[1:]
    lead = f"It is {points} points {'ahead of' if difference.point >= 0 else 'behind'} {name}"
    if best.row.seeds != rival.row.seeds:
        lead += " at the seeds of both"
    if difference.interval is None:
        return f"{lead}; whether that is noise is not known, for want of per-query results."
    ends = f"95 % interval {format_points(difference.low)} to {format_points(difference.high)}"
    if difference.unclear:
        return f"{lead} ({ends}), which may be noise: the interval contains zero."
    several = common_seeds(best.row, rival.row) > 1
    noise = "the choice of queries and training seeds" if several else "the choice of queries"
    return f"{lead} ({ends}), which is more than the noise of {noise}."


def _domains(differences: Differences, table: Table, first: str) -> list[str]:
    """In which domains the best row differs from the first beyond noise."""
    ahead: list[str] = []
    behind: list[str] = []
    for domain in table.domains:
        difference = differences.get(domain_column(table.metrics[0].name, domain))
        if difference is not None and difference.interval and not difference.unclear:
            (ahead if difference.point > 0 else behind).append(domain)
    parts = [
        f"{side} in {', '.join(domains)}"
        for side, domains in (("ahead", ahead), ("behind", behind))
        if domains
    ]
    return [f"Against {first} it is, beyond noise, {' and '.join(parts)}."] if parts else []


def _caveats(ranked: Sequence[RankedRow], table: Table) -> list[str]:
    caveats = []
    if higher := _higher_for_orientation(ranked[0], table):
        caveats.append(f"Higher still, but shown for orientation only: {', '.join(higher)}.")
    if len(ranked) == 1:
        return caveats
    seeds = all_seeds(one.row for one in ranked)
    if len(seeds) == 1:
        caveats.append("There is one training seed: what another would change is not known.")
    elif len(seeds) in (2, 3):
        caveats.append(f"{plural(len(seeds), 'training seed')} make intervals a little too narrow.")
    if len(ranked) > 2:
        caveats.append(
            f"The best of {len(ranked)} rows owes a part of its lead to being picked as the best."
        )
    return caveats


def _higher_for_orientation(best: RankedRow, table: Table) -> list[str]:
    """The rows for orientation, with their figures, that are ahead of the best ranked row."""
    metric = table.metrics[0].name
    return [
        f"{row.label} ({row.metrics[metric].format()})"
        for row in table.rows
        if row.reference
        and row.index == best.row.index
        and metric in row.metrics
        and row.metrics[metric].mean > best.cell.mean
    ]


def format_points(value: float | None) -> str:
    """A difference in percentage points, with a real minus sign; a dash where there is none.

    >>> format_points(0.0123), format_points(-0.004), format_points(None)
    ('+1.2', '−0.4', '–')
    """
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def format_difference(difference: Difference) -> str:
    """A difference and its interval, in percentage points.

    >>> format_difference(Difference(point=0.012, low=-0.001, high=0.03))
    '+1.2 [−0.1, +3.0]'
    """
    point = format_points(difference.point)
    if difference.interval is None:
        return point
    return f"{point} [{format_points(difference.low)}, {format_points(difference.high)}]"

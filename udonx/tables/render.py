"""A table on the screen: at most 100 columns, one decimal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import attrs

from udonx.common.grid import WIDTH, align, columns, fit, widths
from udonx.tables.bootstrap import LEVEL
from udonx.tables.content import INDEXES, UNSEEN, Cell, Content, Difference, MetricColumn
from udonx.tables.groups import common_seeds, first_rows, group_of

_NARROWEST = 4  # letters of a domain's name
_SHORTEST_LABEL = 10
_ABOUT_COLUMNS = "val: R@1 of the validation splits, which chose the step `best`"
_Lines = list[list[str]]


def to_text(table: Content) -> str:
    """The table for the screen: names cut to fit, no ± per domain.

    Metrics and domains that find no room are left out and named.
    """
    layout = _layout(table)
    rule = "-" * (sum(layout.widths) + len(layout.widths) - 1)
    header, *body = [
        align([fit(label, layout.widths[0], mark="…"), *cells], layout.widths, left=1).rstrip()
        for label, *cells in layout.lines
    ]
    ranked = sum(not line.row.reference for line in table.lines)
    if ranked < len(body):
        body.insert(ranked, rule)
    lines = [
        f"{table.title}  ({table.setting})",
        header,
        *([rule] if ranked and body else []),
        *body,
    ]
    notes = [*table.missing, *table.footer]
    if layout.left_out:
        notes.append(f"without room here: {', '.join(layout.left_out)}")
    if table.metrics[0].name != "r1":
        notes.append(f"columns of domains: {table.metrics[0].label}")
    if table.validated:
        notes.append(_ABOUT_COLUMNS if layout.has_choices else _choices(table))
    filled = (textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in notes)
    return "\n".join([*lines, *_intervals(table), *filled])


@attrs.frozen(kw_only=True)
class _Layout:
    """Which columns are shown and how wide they are.

    Attributes:
        lines: the cells of the header and of each row.
        widths: of the columns.
        has_choices: whether the two columns of validation are among them.
        left_out: names of metrics and domains that are not.
    """

    lines: _Lines
    widths: list[int]
    has_choices: bool
    left_out: list[str]


def _layout(table: Content) -> _Layout:
    ends = _costs(table)
    left, left_out = _with_room(table, WIDTH - _taken(widths(ends)))
    label, *figures = widths(left)
    # for the label, and for each domain a blank and its column
    room = WIDTH - _taken(figures) - _taken(widths(ends))
    domains = _domains(table)
    narrow = [max(_NARROWEST, width) for width in widths(domains[1:] or [[""] * len(domains[0])])]
    chosen = _validation(table)
    has_choices = table.validated and label + _taken(narrow) + _taken(widths(chosen)) <= room
    if has_choices:
        ends = _beside(chosen, ends)
        room -= _taken(widths(chosen))
    while narrow and min(label, _SHORTEST_LABEL) + _taken(narrow) > room:
        narrow.pop()
    label = min(label, room - _taken(narrow))
    spare = (room - label - _taken(narrow)) // max(1, len(narrow))
    wide = [
        max(width, min(columns(name), width + spare))
        for name, width in zip(table.domains, narrow, strict=False)
    ]
    shown = [line[: len(wide)] for line in domains]
    return _Layout(
        lines=_beside(_beside(left, shown), ends),
        widths=[label, *figures, *wide, *widths(ends)],
        has_choices=has_choices,
        left_out=[*left_out, *table.domains[len(wide) :]],
    )


def _taken(shown: Sequence[int]) -> int:
    """What columns take, each with the blank before it."""
    return sum(shown) + len(shown)


def _beside(left: _Lines, right: _Lines) -> _Lines:
    return [[*first, *last] for first, last in zip(left, right, strict=True)]


def _with_room(table: Content, room: int) -> tuple[_Lines, list[str]]:
    """Label, metrics and difference, and the labels of metrics that are left out.

    ± goes first, then the last metrics.
    """
    for count in range(len(table.metrics), 0, -1):
        for deviation in (True, False):
            left = _figures(table, table.metrics[:count], deviation)
            if _SHORTEST_LABEL + _taken(widths(left)[1:]) <= room:
                return left, [column.label for column in table.metrics[count:]]
    return left, [column.label for column in table.metrics[1:]]


def _figures(table: Content, metrics: Sequence[MetricColumn], deviation: bool) -> _Lines:
    rows = [line.row for line in table.lines]
    stars = _marks([row.index == "own" for row in rows], "*" if table.mixed else "")
    tildes = _marks([row.unclear for row in rows], "~")
    difference = "diff" if metrics[0].name == "r1" else "diff R@1"
    first, *others = [column.label for column in metrics]
    lines = [["", first + stars[0], *others, difference + tildes[0]]]
    for line, star, tilde in zip(table.lines, stars[1:], tildes[1:], strict=True):
        row = line.row
        first, *others = [_cell(row.metrics.get(column.name), deviation) for column in metrics]
        lines.append([line.label, first + star, *others, format_points(row.difference) + tilde])
    return lines


def _domains(table: Content) -> _Lines:
    first = table.metrics[0].name
    shown = [line.row for line in table.lines]
    marks = [_marks([name in row.unseen for row in shown], UNSEEN)[1:] for name in table.domains]
    rows = [
        [
            format_mean(row.in_domain(first, name)) + of_domain[position]
            for name, of_domain in zip(table.domains, marks, strict=True)
        ]
        for position, row in enumerate(shown)
    ]
    return [list(table.domains), *rows]


def _validation(table: Content) -> _Lines:
    return [
        ["val", "best"],
        *([format_mean(line.row.validation), line.row.best] for line in table.lines),
    ]


def _costs(table: Content) -> _Lines:
    rows = [
        [format_count(line.row.steps), format_minutes(line.row.minutes)] for line in table.lines
    ]
    return [["steps", "min"], *rows]


def _choices(table: Content) -> str:
    """The chosen steps with their validation R@1 in one sentence.

    It stands in for two columns that find no room on the screen.
    """
    chosen = [
        f"{row.label} {row.best} ({format_mean(row.validation)})"
        for row in table.rows
        if row.validation is not None
    ]
    return f"step chosen on validation (its R@1 there): {'; '.join(chosen)}"


def describe_method(table: Content, columns: Sequence[MetricColumn], subject: str) -> str:
    """What the intervals of these metrics are, in one line; empty where there is none."""
    compared = [(column, row) for column in columns for row in table.compared(column)]
    if not compared:
        return ""
    firsts = first_rows(table.rows)
    several = any(common_seeds(row, firsts[group_of(row)]) > 1 for _, row in compared)
    over = "seeds and queries" if several else "queries"
    unclear = any(row.unclear_in(column.name) for column, row in compared)
    zero = "; ~ contains zero" if unclear else ""
    return f"{subject}, {100 * LEVEL:.0f} % interval (paired bootstrap over {over}){zero}"


def _intervals(table: Content) -> list[str]:
    """The differences with their intervals, metric by metric; the first says what they are."""
    columns = [column for column in table.difference_columns if table.compared(column)]
    lines = []
    for column in columns:
        if table.grouped:
            subject = f"differences in {column.label}"
        else:
            subject = f"{column.label} minus the first row's"
        heading = describe_method(table, columns, subject) if column is columns[0] else subject
        lines += textwrap.wrap(heading, WIDTH, subsequent_indent="  ")
        lines += _interval_lines(table, column)
    return lines


def _interval_lines(table: Content, column: MetricColumn) -> list[str]:
    """The differences in one metric with their intervals.

    They come row by row, or group by group where there are several.
    """
    compared = table.compared(column)
    ends = [difference_and_ends(row.differences[column.name]) for row in compared]
    room_of = widths(ends)
    figures = []
    for cells in ends:
        point, low, high = (
            fit(cell, width, right=True) for cell, width in zip(cells, room_of, strict=True)
        )
        figures.append(f"  {point}  [{low}, {high}]")
    indent = "    " if table.grouped else "  "
    room = WIDTH - len(indent) - len(figures[0]) - len(" ~")
    width = min(max(widths([[row.label] for row in compared])), room)
    lines = []
    for group, first in first_rows(table.rows).items():
        block = [
            (row, figure)
            for row, figure in zip(compared, figures, strict=True)
            if group_of(row) == group
        ]
        if block and table.grouped:
            index = f", {INDEXES[first.index]}" if table.mixed else ""
            lines.append(f"  minus {first.label[: WIDTH - len(f'  minus {index}')]}{index}")
        lines += [
            f"{indent}{fit(row.label, width)}{figure}{' ~' * row.unclear_in(column.name)}"
            for row, figure in block
        ]
    return lines


def _marks(marked: list[bool], mark: str) -> list[str]:
    """What ends the header and the figures of a column of which some are marked.

    That is the mark or a blank of its width, and nothing where no figure is marked.
    """
    return [(mark if here else " ") if any(marked) and mark else "" for here in (False, *marked)]


def _cell(cell: Cell | None, deviation: bool) -> str:
    return cell.format("") if cell is not None and deviation else format_mean(cell)


def difference_and_ends(difference: Difference) -> list[str]:
    """A difference and the ends of its interval."""
    return [format_points(value) for value in (difference.point, *(difference.interval or ()))]


def format_points(difference: float | None) -> str:
    """A difference in percentage points; empty where there is none."""
    return "" if difference is None else f"{100 * difference:+.1f}"


def format_mean(cell: Cell | None) -> str:
    """A mean in percent; "-" where there is none."""
    return "-" if cell is None else f"{100 * cell.mean:.1f}"


def format_count(count: int | None) -> str:
    """A count; "-" where it is not known."""
    return "-" if count is None else str(count)


def format_minutes(minutes: float | None) -> str:
    """Minutes with one decimal; "-" where they are not known."""
    return "-" if minutes is None else f"{minutes:.1f}"

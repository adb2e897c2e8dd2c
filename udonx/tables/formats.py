"""A table as Markdown and as CSV: everything that it holds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from udonx.tables.content import Cell, Content, Line, ReportedRow, TableRow
from udonx.tables.ranks import Column, Rank, domain_of, mean_of, ranks
from udonx.tables.render import (
    describe_method,
    difference_and_ends,
    format_count,
    format_minutes,
)

_STYLES = {Rank.BEST: "**{}**", Rank.SECOND: "<ins>{}</ins>", None: "{}"}
_MARKS = (
    "bold: the best of the rows that are compared; underlined: the second, where there are three"
)


def to_markdown(table: Content) -> str:
    """A Markdown table, ± per domain included, and a list of what has to be said of it."""
    labels, lines = [column.label for column in table.metrics], table.lines
    header = ["row", "index", "seeds", *labels, *_difference_headers(table)]
    header += [f"{name} {label}" for label in labels for name in table.domains]
    header += ["validation R@1", "best step", "steps", "images", "minutes"]
    written = [f"# {table.title} ({table.setting})", "", _line(header), f"|{'---|' * len(header)}"]
    means = [_ranked(lines, mean_of(column.name)) for column in table.metrics]
    domains = [
        _ranked(lines, domain_of(column.name, name), mark=name)
        for column in table.metrics
        for name in table.domains
    ]
    for position, line in enumerate(lines):
        row = line.row
        cells = [line.label, "-" if line.reported else row.index, _seeds(row) or "-"]
        cells += [column[position] for column in means]
        cells += [_difference(row, column.name) for column in table.difference_columns]
        cells += [column[position] for column in domains]
        cells += [_cell(row.validation), row.best]
        cells += [format_count(row.steps), format_count(row.images), format_minutes(row.minutes)]
        written.append(_line(cells))
    # a line that begins with a star would be a list within the list
    notes = [f"- {note}".replace("*", r"\*") for note in _notes(table)]
    if any(cell.startswith("**") for column in (*means, *domains) for cell in column):
        notes.append(f"- {_MARKS}")
    return "\n".join([*written, "", *notes, ""])


def _ranked(lines: Sequence[Line], column: Column, mark: str = "") -> list[str]:
    """The cells of a column, the best bold and the second underlined.

    Args:
        lines: those of the table.
        column: the column.
        mark: the domain whose mark ends a cell.
    """
    return [
        _STYLES[rank].format(_cell(column(line.row))) + (line.row.mark_of(mark) if mark else "")
        for line, rank in zip(lines, ranks(lines, column), strict=True)
    ]


def _notes(table: Content) -> list[str]:
    same = " with the same index and backbone" if table.grouped else ""
    columns = table.difference_columns
    what = "R@1" if len(columns) == 1 else "the metric"
    subject = f"{', '.join(_difference_headers(table))}: {what} minus that of the first row{same}"
    method = describe_method(table, columns, subject)
    notes = [*([method] if method else []), *table.missing, *table.footer]
    return notes + [line for line in table.about.lines() if line not in notes]


def _difference_headers(table: Content) -> list[str]:
    return [f"diff {column.label}" for column in table.difference_columns]


def to_csv(table: Content) -> str:
    """One line per row, figures as unrounded fractions.

    Where they come from stands in every line. Figures from elsewhere have columns of their own, so
    that no script takes them for ours.
    """
    names = [column.name for column in table.metrics]
    header = ["row", "label", "branch", "index", "backbone", "reference", "seeds"]
    header += _with_deviation(names)
    for prefix in ("", *(f"{name}_" for name in names if name != "r1")):
        header += [f"{prefix}difference{end}" for end in ("", "_low", "_high")]
    header += [f"own_index_{name}" for name in names]
    header += _with_deviation([f"{domain}_{name}" for domain in table.domains for name in names])
    if _has_unseen(table):
        header += ["unseen_domains"]
        header += [f"{kind}_{name}" for name in names for kind in ("seen", "unseen")]
    header += ["validation_r1", "best_steps", "steps", "images", "minutes"]
    header += _reported_header(table)
    header += ["setting", "data", "set", "start_weights", "versions", "file"]
    about = table.about
    texts = map("; ".join, (about.overrides, about.start_weights, about.versions))
    origin = [table.setting, about.data, *texts, about.file]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    reported = {line.name: line for line in table.reported}
    for row in table.rows:
        elsewhere = _reported_figures(table, reported.get(row.name))
        writer.writerow([*_csv_figures(table, row), *elsewhere, *origin])
    there = {row.name for row in table.rows}
    width = len(header) - len(origin)
    for line in reported.values():
        if line.name not in there:
            elsewhere = _reported_figures(table, line)
            nothing = [None] * (width - 2 - len(elsewhere))
            writer.writerow([line.name, line.label, *nothing, *elsewhere, *origin])
    return buffer.getvalue()


def _reported_header(table: Content) -> list[str]:
    """Columns of figures from elsewhere, where any row has some."""
    if not table.reported:
        return []
    names = [column.name for column in table.metrics]
    domains = [f"{domain}_{name}" for domain in table.domains for name in names]
    return [f"reported_{name}" for name in (*names, *domains, "source")]


def _reported_figures(table: Content, row: ReportedRow | None) -> list[Any]:
    """What stands below `_reported_header`."""
    if not table.reported:
        return []
    names = [column.name for column in table.metrics]
    if row is None:
        return [None] * len(_reported_header(table))
    domains = [
        row.per_domain.get(name, {}).get(domain) for domain in table.domains for name in names
    ]
    return [*(row.metrics.get(name) for name in names), *domains, row.source]


def _has_unseen(table: Content) -> bool:
    return any(row.unseen for row in table.rows)


def _with_deviation(names: list[str]) -> list[str]:
    return [header for name in names for header in (name, f"{name}_std")]


def _csv_figures(table: Content, row: TableRow) -> list[Any]:
    names = [column.name for column in table.metrics]
    line: list[Any] = [row.name, row.label, row.branch, row.index, row.backbone, row.reference]
    line.append(_seeds(row))
    line += _values([row.metrics.get(name) for name in names])
    for name in ("r1", *(name for name in names if name != "r1")):
        difference = row.differences.get(name)
        line += [difference.point, difference.low, difference.high] if difference else [None] * 3
    line += _values([row.own_metrics.get(name) for name in names])[::2]
    line += _values([row.in_domain(name, domain) for domain in table.domains for name in names])
    if _has_unseen(table):
        line += [" ".join(row.unseen)]
        line += [row.mean_over(name, unseen=unseen) for name in names for unseen in (False, True)]
    line += [row.validation.mean if row.validation else None]
    line += [" ".join(map(format_count, row.best_steps)), row.steps, row.images, row.minutes]
    return line


def _values(cells: list[Cell | None]) -> list[float | None]:
    """Mean and deviation of each cell."""
    return [value for cell in cells for value in ((cell.mean, cell.std) if cell else (None, None))]


def _seeds(row: TableRow) -> str:
    return " ".join(str(seed) for seed in row.seeds if seed is not None)


def _cell(cell: Cell | None) -> str:
    return cell.format() if cell else "-"


def _difference(row: TableRow, metric: str) -> str:
    difference = row.differences.get(metric)
    if difference is None:
        return ""
    point, *ends = difference_and_ends(difference)
    return f"{point} [{', '.join(ends)}]{' ~' * difference.unclear}" if ends else point


def _line(cells: list[str]) -> str:
    """A line of a Markdown table; a bar within a cell would end it."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

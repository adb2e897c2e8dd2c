"""A table as LaTeX for a paper, with booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from udonx.tables.bootstrap import LEVEL
from udonx.tables.content import (
    OTHER_SEEDS,
    REPORTED,
    UNSEEN,
    Cell,
    Content,
    Line,
    MetricColumn,
    ReportedRow,
)
from udonx.tables.groups import on_other_seeds
from udonx.tables.ranks import Column, Rank, domain_of, mean_of, ranks
from udonx.tables.render import format_points

_STYLES = {Rank.BEST: r"\mathbf{%s}", Rank.SECOND: r"\underline{%s}", None: "%s"}
_UNCLEAR = r"^{\sim}"
_MARKS = {"*": "*", OTHER_SEEDS: r"\dagger", REPORTED: r"\ddagger", UNSEEN: r"\circ"}
_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",
        **{letter: f"{{{letter}}}" for letter in "[]*"},  # behind \\ they are its options
        "±": r"$\pm$",
        "×": r"$\times$",
        "→": r"$\rightarrow$",
        **{letter: f"\\{letter}" for letter in "{}$&%#_"},
        **{mark: f"$^{{{name}}}$" for mark, name in _MARKS.items() if mark != "*"},
    }
)


def escape(text: str) -> str:
    r"""A text whose every character LaTeX prints as it is.

    >>> escape("50 % of R@1_x"), escape("a\\b")
    ('50 \\% of R@1\\_x', 'a\\textbackslash{}b')
    """
    return text.translate(_ESCAPES)


def to_latex(table: Content) -> str:
    r"""A `table*` with booktabs.

    It has the metrics, the differences, and the first metric in each domain. The best of the
    compared rows is bold, the second underlined. What else has to be said stands in comments.
    """
    columns = [
        *(
            _cells(table, mean_of(metric.name), own=metric is table.metrics[0])
            for metric in table.metrics
        ),
        *(_differences(table, metric) for metric in _compared(table)),
        *(_cells(table, domain_of(table.metrics[0].name, name), name) for name in table.domains),
    ]
    body = [
        _line([_label(line), *cells]) for line, *cells in zip(table.lines, *columns, strict=True)
    ]
    ranked = sum(not line.row.reference for line in table.lines)
    if 0 < ranked < len(body):
        body.insert(ranked, r"\midrule")
    notes = [*table.missing, *table.footer]
    notes += [note for note in table.about.lines() if note not in notes]
    written = [
        r"% made from stored results by `udonx table --format latex`; needs \usepackage{booktabs}",
        *(f"% {note}" for note in notes),
        r"\begin{table*}[t]",
        r"  \centering",
        r"  \small",
        r"  \setlength{\tabcolsep}{4pt}",
        f"  \\caption{{{_caption(table)}}}",
        f"  \\label{{{_key(table)}}}",
        f"  \\begin{{tabular}}{{l{'r' * len(columns)}}}",
        *(
            f"    {text}"
            for text in (r"\toprule", *_header(table), r"\midrule", *body, r"\bottomrule")
        ),
        r"  \end{tabular}",
        *(f"  \\par\\smallskip{{\\footnotesize {text}}}" for text in _footnotes(table)),
        r"\end{table*}",
    ]
    return "\n".join([*written, ""])


def _line(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _label(line: Line) -> str:
    """The label of a line, its mark behind it."""
    for mark in (OTHER_SEEDS, REPORTED):
        if line.label.startswith(f"{mark} "):
            return f"{escape(line.label[2:])}{_mark(mark)}"
    return escape(line.label)


def _cells(table: Content, column: Column, domain: str = "", *, own: bool = False) -> list[str]:
    """The cells of a column of figures.

    Args:
        table: the table.
        column: the column.
        domain: the domain that it is of, whose mark ends a cell; empty for a mean.
        own: whether rows of the own-domain index are marked in it.
    """
    cells = []
    for line, rank in zip(table.lines, ranks(table.lines, column), strict=True):
        marks = [line.row.mark_of(domain)] if domain else []
        marks += ["*"] if own and table.mixed and line.row.index == "own" else []
        cells.append(
            _figure(column(line.row), rank, "".join(_MARKS[mark] for mark in marks if mark))
        )
    return cells


def _figure(cell: Cell | None, rank: Rank | None, marks: str) -> str:
    r"""A figure in math mode.

    >>> _figure(Cell.of([0.5, 0.6]), Rank.BEST, ""), _figure(Cell.of([0.5]), None, "*")
    ('$\\mathbf{55.0}{\\scriptstyle \\pm 7.1}$', '$50.0^{*}$')
    """
    if cell is None:
        return "--"
    mean = _STYLES[rank] % f"{100 * cell.mean:.1f}"
    deviation = "" if cell.std is None else f"{{\\scriptstyle \\pm {100 * cell.std:.1f}}}"
    return f"${mean}{f'^{{{marks}}}' if marks else ''}{deviation}$"


def _compared(table: Content) -> list[MetricColumn]:
    """The metrics whose differences have a column: those in which any row is compared."""
    return [
        metric
        for metric in table.difference_columns
        if any(metric.name in row.differences for row in table.rows)
    ]


def _differences(table: Content, metric: MetricColumn) -> list[str]:
    cells = []
    for line in table.lines:
        difference = line.row.differences.get(metric.name)
        if difference is None:
            cells.append("")
        else:
            mark = _UNCLEAR if difference.unclear else ""
            cells.append(f"${format_points(difference.point)}{mark}$")
    return cells


def _header(table: Content) -> Iterator[str]:
    """The lines above the rows; the domains stand below what they are figures of."""
    labels = [escape(metric.label) for metric in table.metrics]
    labels += [f"$\\Delta$ {escape(metric.label)}" for metric in _compared(table)]
    if table.domains:
        first, last = len(labels) + 2, len(labels) + 1 + len(table.domains)
        above = f"\\multicolumn{{{len(table.domains)}}}{{c}}{{{labels[0]} by domain}}"
        yield _line([""] * (first - 1) + [above])
        yield f"\\cmidrule(l){{{first}-{last}}}"
    yield _line(["", *labels, *map(escape, table.domains)])


def _caption(table: Content) -> str:
    labels = " and ".join(escape(metric.label) for metric in table.metrics)
    over = f", means over {len(table.domains)} domains" if table.domains else ""
    parts = [f"{escape(table.title)} ({escape(table.setting)}): {labels} in \\%{over}"]
    if any(rank for metric in table.metrics for rank in ranks(table.lines, mean_of(metric.name))):
        parts.append("Best of the compared rows in bold, second underlined")
    if any(cell.std is not None for row in table.rows for cell in row.metrics.values()):
        parts.append(r"$\pm$: standard deviation over training seeds")
    return f"{'. '.join(parts)}."


def _key(table: Content) -> str:
    r"""The key for `\ref`: the experiment file and the setting."""
    name = PurePath(table.about.file).stem or table.title
    return "tab:" + re.sub(r"[^A-Za-z0-9]+", "-", f"{name} {table.setting}").strip("-").lower()


def _footnotes(table: Content) -> Iterator[str]:
    """What the marks are, of those that are there."""
    if compared := _compared(table):
        same = " with the same index and backbone" if table.grouped else ""
        zero = f"its {100 * LEVEL:.0f}\\,\\% interval (paired bootstrap) contains zero"
        unclear = any(row.unclear_in(metric.name) for row in table.rows for metric in compared)
        sim = f"; ${_UNCLEAR}$: {zero}" if unclear else ""
        yield f"$\\Delta$: difference to the first row{same}{sim}."
    if table.mixed:
        yield f"{_mark('*')} Each query is searched in its own domain only; not comparable."
    if any(on_other_seeds(table.rows)):
        yield f"{_mark(OTHER_SEEDS)} The mean is over other seeds than those of the other rows."
    if any(row.unseen for row in table.rows):
        yield f"{_mark(UNSEEN)} The row was not trained on this domain."
    if table.reported:
        yield f"{_mark(REPORTED)} {escape(_sources(table.reported))}."


def _mark(mark: str) -> str:
    return f"$^{{{_MARKS[mark]}}}$"


def _sources(reported: Sequence[ReportedRow]) -> str:
    """Where figures from elsewhere stand."""
    sources = dict.fromkeys(row.source for row in reported if row.source)
    where = f" by {'; '.join(sources)}" if sources else " elsewhere"
    return f"Reported{where}; neither measured here nor compared"

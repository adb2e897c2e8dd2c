"""Drawings: panels as SVG within a page, and whole figures as SVG and PDF files for a paper.

matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from markupsafe import Markup, escape

from udonx.common.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1b1e22", "#59616a", "#e3e6e9"
SERIES = (
    "#0072b2",
    "#d55e00",
    "#008a64",
    "#aa3377",
    "#8a6d00",
    "#33383e",
    "#d6506e",
    "#2c8fc4",
)
"""Colours that people with any colour vision tell apart, as report.css has them on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Shapes; with `SERIES` they repeat only after 56 series."""
WIDTH = 3.5  # inches of a panel: a column of a paper
_COLUMNS = 2
_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,  # a label with a dollar sign is no formula
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "udonx",
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
}


@attrs.frozen(kw_only=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above it.
        alt: what it shows, for those who do not see it.
        draw: draws into empty axes.
        height: in inches.
    """

    title: str
    alt: str
    draw: Callable[[Axes], None]
    height: float = 2.5


@attrs.frozen(kw_only=True)
class Chart:
    """A figure: panels that share a legend.

    Attributes:
        key: names its files.
        title: its heading.
        caption: what is drawn, and how.
        panels: its parts.
        legend: the label of each series, by its number.
    """

    key: str
    title: str
    caption: str
    panels: Sequence[Panel]
    legend: Mapping[int, str] = attrs.field(factory=dict)


def color(number: int) -> str:
    """The colour of a series."""
    return SERIES[number % len(SERIES)]


def marker(number: int) -> str:
    """The shape of a series."""
    return MARKERS[number % len(MARKERS)]


def panel_svg(panel: Panel, prefix: str) -> Markup:
    """A panel as an SVG element for a page, in the colours of the page's theme.

    Args:
        panel: what is drawn.
        prefix: what the ids in it begin with; unique on the page.
    """
    from matplotlib import rc_context

    with rc_context(_RC):
        figure = _figure([panel], columns=1)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(buffer.getvalue(), panel, prefix)


def write_files(chart: Chart, folder: Path) -> list[str]:
    """Write a whole chart as SVG and PDF files ready for a paper; returns their names."""
    from matplotlib import rc_context

    names = []
    with rc_context(_RC):
        figure = _figure(
            chart.panels, columns=min(_COLUMNS, len(chart.panels)), legend=chart.legend
        )
        for suffix, date in (("svg", "Date"), ("pdf", "CreationDate")):
            name = f"{chart.key}.{suffix}"
            with atomic_path(folder / name) as temporary:
                figure.savefig(temporary, format=suffix, metadata={date: None})
            names.append(name)
    return names


def _figure(
    panels: Sequence[Panel], *, columns: int, legend: Mapping[int, str] | None = None
) -> Figure:
    """Panels in a grid, from left to right, laid out with the legend below them."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [max(panel.height for panel in row) for row in rows]
    figure = Figure(figsize=(WIDTH * columns, sum(heights)))
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(grid[number // columns, number % columns])
        axes.set_title(panel.title, loc="left")
        panel.draw(axes)
    if legend:
        _add_legend(figure, legend)
    # laid out once: as the figure's own engine it would do so at every draw, and draw twice
    ConstrainedLayoutEngine().execute(figure)
    return figure


def _add_legend(figure: Figure, legend: Mapping[int, str]) -> None:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=color(number), marker=marker(number), label=label)
        for number, label in legend.items()
    ]
    columns = max(1, min(len(lines), 100 // (8 + max(map(len, legend.values())))))
    figure.legend(handles=lines, loc="outside lower center", ncols=columns)


# ------------------------------------------------------------------------------- SVG within a page

_THEMED = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"} | {
    value: f"var(--series-{number})" for number, value in enumerate(SERIES)
}
_SHAPES = {
    "o": "M10 6a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "s": "M10.5 2.5h7v7h-7z",
    "^": "M14 1.5l4.5 8.5h-9z",
    "D": "M14 1l5 5l-5 5l-5-5z",
    "v": "M14 10.5l-4.5-8.5h9z",
    "P": "M12.5 1.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "X": "M11 1l3 3l3-3l2 2l-3 3l3 3l-2 2l-3-3l-3 3l-2-2l3-3l-3-3z",
}


def legend_mark(number: int) -> Markup:
    """The line and shape of a series, as a small SVG element."""
    return Markup(
        '<svg class="mark" viewBox="0 0 28 12" width="28" height="12" aria-hidden="true">'
        '<path d="M0 6h28" stroke="var(--series-{0})" stroke-width="2"/>'
        '<path d="{1}" fill="var(--series-{0})"/></svg>'
    ).format(number % len(SERIES), _SHAPES[marker(number)])


def _round_numbers(tag: re.Match[str]) -> str:
    """A tag with two decimals in its numbers: less than that cannot be seen."""
    return re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", tag[0])


def _for_page(svg: str, panel: Panel, prefix: str) -> Markup:
    """An SVG file as an element: a name for screen readers, unique ids, colours of the theme."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\n?", "", body, flags=re.DOTALL)
    body = re.sub(r' id="', f' id="{prefix}-', body)
    body = re.sub(r"(xlink:href=\"#|url\(#)", rf"\g<1>{prefix}-", body)
    body = re.sub(r"<[^>]*>", _round_numbers, body)
    for hexadecimal, variable in _THEMED.items():
        body = body.replace(hexadecimal, variable)
    opening, rest = body.split(">", 1)
    view = re.search(r'viewBox="[^"]+"', opening)
    assert view is not None  # matplotlib writes one
    label = f"{panel.title}: {panel.alt}"
    return Markup(
        '<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg"'
        f' {view[0]} class="panel" role="img" aria-label="{escape(label)}">{rest.strip()}'
    )

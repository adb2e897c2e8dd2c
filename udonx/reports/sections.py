"""The sections of a table's page that are figures, each on the page and as files for a paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from udonx.reports.charts import comparison_charts, cost_charts, learning_charts, sampler_charts
from udonx.reports.curves import read_curves
from udonx.reports.drawing import Chart, panel_svg, write_files
from udonx.reports.pages import Section, render
from udonx.reports.pairs import Pairs
from udonx.reports.sizes import read_size
from udonx.reports.source import TableSource


def figure_sections(source: TableSource, pairs: Pairs, folder: Path) -> Iterator[Section]:
    """Differences and domains, costs, learning curves, samplers: those of which there is anything.

    Args:
        source: the stored table.
        pairs: its rows, compared.
        folder: of its page; the files for papers are written there.
    """
    table = source.table
    curves, notes = read_curves(source)
    sizes = [read_size(source, row) for row in table.rows]
    for key, title, charts, remarks in (
        ("comparison", "Differences and domains", comparison_charts(table, pairs), []),
        ("costs", "Quality against cost", cost_charts(table, sizes), []),
        ("curves", "Learning curves", learning_charts(table, curves), notes),
        ("samplers", "Samplers", sampler_charts(table, curves), []),
    ):
        if charts or remarks:
            yield _section(key, title, charts, remarks, folder)


def _section(
    key: str, title: str, charts: Sequence[Chart], notes: Sequence[str], folder: Path
) -> Section:
    drawn = {
        chart.key: [
            panel_svg(panel, f"{chart.key}-{number}") for number, panel in enumerate(chart.panels)
        ]
        for chart in charts
    }
    files = {chart.key: write_files(chart, folder) for chart in charts}
    body = render("charts.html.j2", charts=charts, drawn=drawn, files=files, notes=notes)
    return Section(key=key, title=title, body=body)

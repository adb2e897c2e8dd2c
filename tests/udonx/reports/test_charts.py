"""Figures: what is drawn of a table, on its page and as files."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.udonx.reports.small import write_results
from udonx.reports.charts import comparison_charts, cost_charts, learning_charts, sampler_charts
from udonx.reports.curves import TOTAL, Curve, RowCurves
from udonx.reports.drawing import SERIES, legend_mark, panel_svg, write_files
from udonx.reports.pages import static_file
from udonx.reports.pairs import compare_all
from udonx.reports.sizes import ModelSize
from udonx.reports.source import read_sources

CURVE = Curve((1, 2, 3), (3.0, 2.0, 1.0), (0.1, 0.1, 0.1))


@pytest.fixture
def source(tmp_path):
    """A stored table of four rows."""
    ((source,), _) = read_sources(write_results(tmp_path))
    return source


def curves(position: int, **changes) -> RowCurves:
    """The curves of a row."""
    by_domain = {"birds": CURVE, "cars": CURVE}
    given = {"losses": {"ce": CURVE}, "validation": by_domain, "shares": {}, "signals": {}}
    return RowCurves(position=position, **{**given, **changes})


def test_differences_and_domains_are_drawn(source):
    """A panel of differences for each metric, and one for every four domains."""
    differences, domains = comparison_charts(source.table, compare_all(source))
    assert [panel.title for panel in differences.panels] == ["R@1", "mMP@5"]
    assert "UDON, <b>our</b> way +1" in differences.panels[0].alt
    assert len(domains.panels) == 1 and len(domains.legend) == 4


def test_costs_that_all_rows_share_are_said(source):
    """A cost without a difference is a sentence, one that is not known is named."""
    (chart,) = cost_charts(source.table, [ModelSize(2_000_000, None)] * 4)
    assert [panel.title for panel in chart.panels] == ["minutes of training"]
    assert "Images seen in training: 1.28e+04 in all rows." in chart.caption
    assert "Parameters (millions): 2 in all rows." in chart.caption
    assert "Not known: dimension of a vector." in chart.caption


def test_a_sampler_stands_beside_the_loss_that_it_follows(source):
    """Shares and losses by domain; validation in their place where the log has no such loss."""
    shares = {"birds": CURVE, "cars": CURVE}
    new, old = curves(1, shares=shares, signals=shares), curves(2, shares=shares)
    first, second = sampler_charts(source.table, [curves(0), new, old])
    assert [panel.title for panel in first.panels] == ["share of the steps", "loss of each domain"]
    assert [panel.title for panel in second.panels] == ["share of the steps", "validation R@1"]
    assert "was not kept" in second.caption


def test_the_total_comes_after_all_terms(source):
    """A row with fewer losses does not put the total before the terms of other rows."""
    few, many = curves(0, losses={"ce": CURVE, TOTAL: CURVE}), curves(1)
    more = curves(2, losses={"ce": CURVE, "kl": CURVE, TOTAL: CURVE})
    losses, _ = learning_charts(source.table, [few, many, more])
    assert [panel.title for panel in losses.panels] == ["ce", "kl", TOTAL]


def test_files_for_papers_hold_text(source, tmp_path):
    """The SVG is valid and keeps its text; the PDF embeds TrueType fonts, none of Type 3."""
    losses, _ = learning_charts(source.table, [curves(0), curves(1)])
    assert write_files(losses, tmp_path) == ["losses.svg", "losses.pdf"]
    texts = [each.text for each in ElementTree.parse(tmp_path / "losses.svg").iter() if each.text]
    assert "ce" in texts and "UDON, <b>our</b> way" in texts
    pdf = (tmp_path / "losses.pdf").read_bytes()
    assert b"/Type3" not in pdf and b"/FontFile2" in pdf
    again = tmp_path / "again"
    write_files(losses, again)
    assert (again / "losses.svg").read_bytes() == (tmp_path / "losses.svg").read_bytes()


def test_a_panel_on_a_page_takes_the_themes_colours(source):
    """Colours are variables of the sheet, ids have a prefix, tick labels keep their digits."""
    tiny = Curve((1, 2), (0.0125, 0.0375), (0.0, 0.0))
    losses, _ = learning_charts(source.table, [curves(0, losses={"<ce> $x": tiny})])
    svg = str(panel_svg(losses.panels[0], "losses-0"))
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and "<ce> $x" in (root.get("aria-label") or "")
    assert "var(--series-0)" in svg and not re.search(r"#[0-9a-f]{6}", svg)
    assert set(re.findall(r' id="([^"]+)"', svg)) == set(re.findall(r' id="(losses-0-[^"]+)"', svg))
    assert "0.015" in [each.text for each in root.iter()]


def luminance(hexadecimal: str) -> float:
    """Relative luminance, as WCAG 2 has it."""
    parts = [int(hexadecimal[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_can_be_seen_in_both_themes():
    """Series have a contrast of 3 to the page, text of 4.5, in the light theme and in the dark."""
    sheet = static_file("report.css")
    themes = [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in sheet.split("}")]
    light, dark = [theme for theme in themes if "series-0" in theme][:2]
    assert tuple(light[f"series-{number}"] for number in range(len(SERIES))) == SERIES
    for theme in (light, dark):
        for number in range(len(SERIES)):
            assert contrast(theme[f"series-{number}"], theme["page"]) >= 3
        for name in ("ink", "muted", "link", "better", "worse"):
            assert contrast(theme[name], theme["page"]) >= 4.5
    assert "var(--series-1)" in legend_mark(len(SERIES) + 1)

"""A table as Markdown and as CSV."""

from __future__ import annotations

import csv
import io

import attrs
import pytest

from tests.udonx.tables.small import a_difference, table, table_row
from udonx.tables.content import MMP5, R1, Cell, MetricColumn, ReportedRow
from udonx.tables.table import Table


def test_csv_holds_unrounded_fractions_and_deviations():
    """One line per row; every figure with its deviation, empty where one seed gives none."""
    second = table_row("b", seeds=1, difference=0.25, interval=(-0.125, 0.5))
    rows = list(csv.DictReader(io.StringIO(table(table_row("a"), second).to_csv())))
    assert [row["row"] for row in rows] == ["a", "b"]
    assert (float(rows[0]["r1"]), float(rows[0]["r1_std"]), rows[0]["seeds"]) == (
        0.75,
        0.25,
        "0 1 2",
    )
    assert (float(rows[0]["food_r1_std"]), rows[1]["food_r1_std"], rows[1]["difference"]) == (
        pytest.approx(0.01),
        "",
        "0.25",
    )
    assert [rows[1][f"difference_{end}"] for end in ("low", "high")] == ["-0.125", "0.5"] and rows[
        0
    ]["difference_low"] == ""
    assert (rows[0]["images"], rows[0]["own_index_r1"]) == ("9876543", "0.9")


def test_markdown_holds_deviations_per_domain_and_images():
    """Every row of the Markdown table has as many cells as its header, ± per domain and the images
    seen.
    """
    lines = table(table_row("a"), table_row("b", seeds=1)).to_markdown().split("\n")
    cells = [line.count("|") for line in lines if line.startswith("|")]
    assert len(cells) == 4 and len(set(cells)) == 1
    assert "99.0 ± 1.0" in lines[4] and "9876543" in lines[4]


def compared(*metrics: MetricColumn) -> Table:
    """Two rows that differ in R@1, mMP@5 and mAP@R, of which these are shown."""
    differences = {
        "r1": a_difference(0.1, (0.05, 0.15)),
        "mmp5": a_difference(0.2, (-0.25, 0.5)),
        "map_r": a_difference(-0.1, (-0.2, 0.0)),
    }
    rows = table_row("a"), attrs.evolve(table_row("b"), differences=differences)
    return attrs.evolve(table(*rows), metrics=metrics)


MAP_R = MetricColumn(name="map_r", label="a longer mAP@R")


def test_every_form_holds_the_differences_of_other_metrics():
    """CSV has three columns a metric, Markdown one, the screen a list; R@1 comes first."""
    shown = compared(MMP5, R1, MAP_R)
    _, row = csv.DictReader(io.StringIO(shown.to_csv()))
    assert (row["difference"], row["difference_low"]) == ("0.1", "0.05")
    assert [row[f"map_r_difference{end}"] for end in ("", "_low", "_high")] == [
        *("-0.1", "-0.2", "0.0"),
    ]
    assert row["mmp5_difference"] == "0.2" and "r1_difference" not in row
    markdown = shown.to_markdown()
    assert "| diff R@1 | diff mMP@5 | diff a longer mAP@R |" in markdown
    cells = "| +10.0 [+5.0, +15.0] | +20.0 [-25.0, +50.0] ~ | -10.0 [-20.0, +0.0] ~ |"
    assert cells in markdown
    assert (
        "- diff R@1, diff mMP@5, diff a longer mAP@R: the metric minus that of the first row,"
        " 95 % interval (paired bootstrap over seeds and queries); ~ contains zero\n"
    ) in markdown
    lines = shown.to_text().split("\n")
    start = lines.index(
        "R@1 minus the first row's, 95 % interval (paired bootstrap over seeds and queries); ~"
        " contains zero"
    )
    assert max(map(len, lines)) <= 100
    assert lines[start + 1 : start + 6] == [
        "  b  +10.0  [+5.0, +15.0]",
        "mMP@5 minus the first row's",
        "  b  +20.0  [-25.0, +50.0] ~",
        "a longer mAP@R minus the first row's",
        "  b  -10.0  [-20.0, +0.0] ~",
    ]


@pytest.mark.parametrize("metrics", [(R1, MMP5), (R1,), (MMP5,)])
def test_with_the_default_metrics_only_r1_is_compared_in_text(metrics):
    """What is read on screen and in Markdown is R@1's; CSV has what is shown."""
    every = compared(*metrics)
    first, second = every.rows
    alone = attrs.evolve(second, differences={"r1": second.differences["r1"]})
    only_r1 = attrs.evolve(every, rows=(first, alone))
    assert every.to_text() == only_r1.to_text() and every.to_markdown() == only_r1.to_markdown()
    assert ("mmp5_difference" in every.to_csv()) == (MMP5 in metrics)


def test_markdown_holds_intervals_and_says_what_they_are():
    """Behind the difference, marked where it contains zero; a note that begins with a star does not
    become a list of its own.
    """
    rows = [
        table_row("a"),
        table_row("b", difference=0.018, interval=(0.008, 0.029)),
        table_row("c", difference=0.0, interval=(-0.1, 0.1)),
    ]
    shown = attrs.evolve(table(*rows), footer=("* own-domain index (b)",))
    text = shown.to_markdown()
    assert "| +1.8 [+0.8, +2.9] |" in text and "| +0.0 [-10.0, +10.0] ~ |" in text
    assert (
        "- diff R@1: R@1 minus that of the first row, 95 % interval (paired bootstrap over seeds"
        " and queries); ~ contains zero\n" in text
    )
    assert "\n- \\* own-domain index (b)\n" in text


def elsewhere(name: str, *, reference: bool = False) -> ReportedRow:
    """Figures of a row from elsewhere."""
    return ReportedRow(
        name=name,
        label=name,
        reference=reference,
        source="a paper",
        metrics={"r1": 0.999},
        per_domain={"r1": {"food": 0.5}},
    )


def test_figures_from_elsewhere_stand_beside_their_row():
    """A marked line after the row, never the best; columns of their own in CSV."""
    shown = attrs.evolve(
        table(table_row("a"), table_row("b", seeds=1)), reported=(elsewhere("a"), elsewhere("c"))
    )
    lines = [line for line in shown.to_markdown().split("\n") if line.startswith("| ")]
    labels = [line.split(" | ")[0].removeprefix("| ") for line in lines[1:]]
    assert labels == ["a", "‡ a (reported)", "† b", "‡ c (reported)"]
    assert lines[2].split(" | ")[1:4] == ["-", "-", "99.9"]
    text = shown.to_text().split("\n")
    assert text[4].startswith("‡ a (repor") and " 99.9 " in text[4]
    a, b, c = csv.DictReader(io.StringIO(shown.to_csv()))
    assert (a["r1"], a["reported_r1"], a["reported_food_r1"]) == ("0.75", "0.999", "0.5")
    assert (b["reported_r1"], b["reported_source"]) == ("", "")
    assert (c["row"], c["r1"], c["reported_r1"], c["setting"]) == ("c", "", "0.999", "demo")


def test_markdown_marks_the_best_and_the_second():
    """Bold and underlined, within each column; the notes say so."""
    rows = [
        attrs.evolve(table_row(name, seeds=1), metrics={"r1": Cell.of([r1])})
        for name, r1 in (("a", 0.5), ("b", 0.7), ("c", 0.6))
    ]
    markdown = table(*rows).to_markdown()
    cells = [line.split(" | ")[3] for line in markdown.split("\n")[4:7]]
    assert cells == ["50.0", "**70.0**", "<ins>60.0</ins>"]
    assert "- bold: the best of the rows that are compared" in markdown
    assert "bold" not in table(table_row("a"), table_row("b")).to_markdown()

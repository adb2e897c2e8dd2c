"""A table as Markdown and as CSV."""

from __future__ import annotations

import csv
import io

import attrs
import pytest

from tests.udonx.tables.small import table, table_row


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

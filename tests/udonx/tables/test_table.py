"""What every form of a table has."""

from __future__ import annotations

import csv
import io
import json

import attrs
import pytest

from tests.udonx.tables.small import DOMAINS, MORE, table, table_row, with_metrics
from udonx.store.results import Results
from udonx.tables.content import Cell
from udonx.tables.table import Table


def test_metrics_stand_in_the_order_of_the_file():
    """On screen, in Markdown and in CSV; domains are shown by the first, differences are in R@1."""
    shown = with_metrics(MORE)
    header, _, full, less = shown.to_text().split("\n")[1:5]
    assert header.split()[:7] == ["mAP@R", "R@1", "my", "|", "own", "diff", "R@1"]
    assert full.split()[1:5] == ["50.0±25.0", "50.0±25.0", "50.0±25.0", "50.0"]
    assert less.split()[1:5] == ["-", "75.0±25.0", "-", "-"]
    assert "columns of domains: mAP@R" in shown.to_text()
    assert "columns of domains" not in table(table_row("a")).to_text()
    lines = shown.to_markdown().split("\n")
    assert lines[2].startswith("| row | index | seeds | mAP@R | R@1 | my \\| own | diff R@1 |")
    assert lines[5].startswith("| less | merged | 0 1 2 | - | **75.0 ± 25.0** | - |")
    first, second = csv.DictReader(io.StringIO(shown.to_csv()))
    assert (first["map_r"], first["food_mine"], second["map_r"]) == ("0.5", "0.5", "")
    assert "mmp5" not in first and "own_index_mine" in first


def test_json_leads_from_a_row_to_its_evaluations_and_stages():
    """Every number can be traced: the ids stand beside it."""
    row, second = json.loads(
        table(table_row("a"), table_row("b", difference=0.1, interval=(0.0, 0.25))).to_json()
    )["rows"]
    assert (row["evaluations"], row["stages"], row["metrics"]["r1"]) == (
        ["e1"],
        ["s1", "s2"],
        {"mean": 0.75, "std": 0.25},
    )
    assert row["differences"] == {}
    assert second["differences"] == {"r1": {"point": 0.1, "low": 0.0, "high": 0.25}}


def test_the_chosen_step_and_its_validation_stand_in_every_form(smoke_run):
    """Of each row that was validated, from done.json; on screen in two columns where there is room,
    else in one sentence.
    """
    results = Results(smoke_run.results)
    for row in smoke_run.table.rows:
        (stage,) = (
            {stage for stage in row.stages if results.stage(stage).done.best_r1 is not None}
            if row.name == "udon"
            else {None}
        )
        if stage:
            done = results.stage(stage).done
            assert (row.best_steps, row.validation.mean) == ((done.best_step,), done.best_r1)
    start = smoke_run.table.row("off_the_shelf")
    assert start.validation is None and start.best == "-"
    line = next(
        line
        for line in csv.DictReader(io.StringIO(smoke_run.table.to_csv()))
        if line["row"] == "udon"
    )
    assert (float(line["validation_r1"]), line["best_steps"]) == (
        smoke_run.table.row("udon").validation.mean,
        smoke_run.table.row("udon").best,
    )
    assert "| validation R@1 | best step | steps |" in smoke_run.table.to_markdown()
    chosen = attrs.evolve(
        table_row("a", seeds=2), best_steps=(300, 500), validation=Cell.of([0.5, 0.6])
    )
    lines = table(chosen, table_row("b", seeds=1), domains=DOMAINS[:2]).to_text().splitlines()
    assert lines[1].split()[-4:] == ["val", "best", "steps", "min"] and lines[3].split()[-4:-2] == [
        "55.0",
        "300-500",
    ]
    assert (
        lines[4].split()[-4:-2] == ["-", "-"]
        and "val: R@1 of the validation splits, which chose the step `best`" in lines
    )
    crowded = table(attrs.evolve(chosen, label="a label that needs its room")).to_text()
    assert (
        "best steps" not in crowded
        and "step chosen on validation (its R@1 there): a label that needs its room 300-500 (55.0)"
        in crowded
    )
    assert max(map(len, crowded.splitlines())) <= 100


@pytest.mark.parametrize(
    "evil", ["red \x1b[31m", "two\nlines", "bell\x07", "turn \u202e around", "a | b"]
)
def test_no_text_of_a_table_steers_a_terminal_or_breaks_a_line(evil):
    """Titles, labels, domains and notes of any kind: as many lines and Markdown cells as with plain
    names, and nothing but letters.
    """

    def built(name: str) -> Table:
        row = attrs.evolve(
            table_row(name, seeds=1, label=name),
            per_domain={metric: {name: Cell.of([0.5])} for metric in ("r1", "mmp5")},
        )
        return attrs.evolve(
            table(row, domains=(name,)), title=name, setting=name, missing=(name,), footer=(name,)
        )

    harmless, odd = built("plain"), built(evil)
    for form in (Table.to_text, Table.to_markdown, Table.to_csv):
        assert len(form(odd).splitlines()) == len(form(harmless).splitlines())
        assert all(letter.isprintable() for line in form(odd).splitlines() for letter in line)
    cells = [
        line.replace(r"\|", "").count("|")
        for line in odd.to_markdown().splitlines()
        if line.startswith("|")
    ]
    assert len(set(cells)) == 1 and "50.0" in odd.to_text()


def test_a_table_is_printed_as_it_is_shown_and_named_in_few_words():
    """print(table) shows it; in a prompt it is one short line."""
    shown = table(table_row("a"), table_row("b"))
    assert (
        str(shown) == shown.to_text()
        and repr(shown) == "<Table 'Schemes' (demo): 2 rows, 8 domains; print() shows it>"
    )

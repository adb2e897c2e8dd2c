"""Tables: a view over stored evaluations, on screen, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import udonx
from tests.tiny import ROOT
from udonx.results.table import Cell, Table, TableRow

TABLE3 = ROOT / "experiments" / "table3_ablation.toml"
DOMAINS = ("architecture", "clothing_and_shoes", "food", "gldv2_landmarks", "inaturalist", "met_artworks", "rp2k", "sop_products")


def table_row(name: str, *, seeds: int = 3, reference: bool = False, difference: float | None = None, label: str = "") -> TableRow:
    """A row of high figures over several seeds: the widest that there is."""
    figures = {domain: Cell.of([1.0 - 0.01 * seed for seed in range(seeds)]) for domain in DOMAINS}
    return TableRow(
        name=name,
        label=label or name,
        branch="student",
        index="merged",
        reference=reference,
        seeds=tuple(range(seeds)),
        r1=Cell.of([1.0, 0.75, 0.5][:seeds]),
        r1_per_seed=(1.0, 0.75, 0.5)[:seeds],
        mmp5=Cell.of([1.0, 0.8, 0.9][:seeds]),
        difference=difference,
        r1_per_domain=figures,
        mmp5_per_domain=figures,
        own_r1=Cell.of([0.9]),
        own_mmp5=Cell.of([0.8]),
        steps=1_234_567,
        images=9_876_543,
        minutes=1234.5,
        evaluations=("e1",),
        stages=("s1", "s2"),
    )


def table(*rows: TableRow, domains: tuple[str, ...] = DOMAINS) -> Table:
    """A table of these rows."""
    footer = ("seeds 0, 1, 2; start weights: main " + "a/very/long/path/" * 8 + " (0123456789ab)",)
    return Table(title="Schemes", setting="demo", domains=domains, rows=rows, missing=("other: not run yet",), footer=footer)


def test_a_cell_is_mean_and_sample_deviation():
    """Over seeds: NumPy's mean and std with ddof = 1; one seed has no deviation."""
    values = np.random.default_rng(0).random(5)
    cell = Cell.of(values.tolist())
    assert (cell.mean, cell.std) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
    assert Cell.of([0.4321]) == Cell(mean=0.4321, std=None)
    assert (Cell.of([0.5, 0.6]).spell(), Cell.of([0.5]).spell()) == ("55.0 ± 7.1", "50.0")


def test_the_text_stays_within_100_columns():
    """Eight long domain names, several seeds, a long label, a long footer: nothing is wider, and figures are never cut."""
    long = table_row("a", label="a label that is much longer than there is room for")
    lines = table(long, table_row("b", difference=-0.123), table_row("c", reference=True)).to_text().split("\n")
    assert max(len(line) for line in lines) <= 100
    assert lines[1].split() == ["R@1", "mMP@5", "diff", *(name[:4] for name in DOMAINS), "steps", "min"]
    assert lines[3].startswith("a label t") and "75.0±25.0" in lines[3] and "1234567 1234.5" in lines[3]
    assert "-12.3" in lines[4]
    assert set(lines[2]) == set(lines[5]) == {"-"} and lines[6].startswith("c ")
    assert "other: not run yet" in lines


def test_short_figures_leave_room_for_names():
    """Domain names grow into the room that the figures leave, never beyond their length."""
    header = table(table_row("a", seeds=1), domains=("food", "sop_products")).to_text().split("\n")[1]
    assert header.split()[3:5] == ["food", "sop_products"]


def test_domains_without_room_are_named_below():
    """With many domains those that find no room are left out on screen, and said."""
    many = tuple(f"domain_{number:02}" for number in range(20))
    text = table(table_row("a"), domains=many).to_text()
    assert max(len(line) for line in text.split("\n")) <= 100
    assert "without room here: " in text and "domain_19" in text


def test_csv_holds_unrounded_fractions_and_deviations():
    """One line per row; every figure with its deviation, empty where one seed gives none."""
    rows = list(csv.DictReader(io.StringIO(table(table_row("a"), table_row("b", seeds=1, difference=0.25)).to_csv())))
    assert [row["row"] for row in rows] == ["a", "b"]
    assert (float(rows[0]["r1"]), float(rows[0]["r1_std"]), rows[0]["seeds"]) == (0.75, 0.25, "0 1 2")
    assert (float(rows[0]["food_r1_std"]), rows[1]["food_r1_std"], rows[1]["difference"]) == (pytest.approx(0.01), "", "0.25")
    assert (rows[0]["images"], rows[0]["own_index_r1"]) == ("9876543", "0.9")


def test_markdown_holds_deviations_per_domain_and_images():
    """Every row of the Markdown table has as many cells as its header, ± per domain and the images seen."""
    lines = table(table_row("a"), table_row("b", seeds=1)).to_markdown().split("\n")
    cells = [line.count("|") for line in lines if line.startswith("|")]
    assert len(cells) == 4 and len(set(cells)) == 1
    assert "99.0 ± 1.0" in lines[4] and "9876543" in lines[4]


def test_json_leads_from_a_row_to_its_evaluations_and_stages():
    """Every number can be traced: the ids stand beside it."""
    row = json.loads(table(table_row("a")).to_json())["rows"][0]
    assert (row["evaluations"], row["stages"], row["r1"]) == (["e1"], ["s1", "s2"], {"mean": 0.75, "std": 0.25})


def test_the_table_of_a_run_is_what_was_evaluated(smoke_run):
    """Means are over the domains of the stored evaluation, the difference is to the first row, references have none."""
    table = smoke_run.table
    assert [row.name for row in table.rows][-2:] == ["off_the_shelf", "off_the_shelf_pca"]
    for row in table.rows:
        stored = json.loads((smoke_run.results / "evaluations" / row.evaluations[0] / "metrics.json").read_text())["merged"]
        assert row.r1.mean == pytest.approx(np.mean([domain["r1"] for domain in stored["per_domain"].values()]))
        assert row.r1_per_domain["plates"].mean == stored["per_domain"]["plates"]["r1"]
        assert (row.difference is None) == (row.reference or row.name == "baseline")
    assert table.row("udon").difference == pytest.approx(table.row("udon").r1.mean - table.row("baseline").r1.mean)
    assert [table.row(name).steps for name in ("baseline", "separate_teachers", "off_the_shelf")] == [8, 16, 0]
    assert table.row("separate_teachers").images == 16 * 8


def test_the_table_is_written_in_three_forms(smoke_run):
    """table.md, .csv and .json lie in the folder of the file and setting, and say the same."""
    folder = smoke_run.results / "tables" / "table3_ablation" / "smoke"
    assert sorted(path.name for path in folder.iterdir()) == ["table.csv", "table.json", "table.md"]
    assert (folder / "table.md").read_text() == smoke_run.table.to_markdown()
    assert len(list(csv.reader(io.StringIO((folder / "table.csv").read_text())))) == 8


def test_rows_that_are_missing_are_said(smoke_run, tmp_path: Path):
    """What has not been run stands below the table."""
    from udonx.config.experiment import load_experiment
    from udonx.runner import Options, stored_table

    table = stored_table(load_experiment(smoke_run.file, setting="smoke"), Options(results=tmp_path / "empty"), print)
    assert table.rows == () and len(table.missing) == 7
    assert "UDON: not run yet" in table.to_text()


def test_differences_are_paired_and_missing_seeds_are_said(tmp_path):
    """The difference to the first row is taken over the seeds that both have, and a row that lacks seeds says so."""
    udonx.run(TABLE3, setting="smoke", rows=["baseline"], seeds=[0, 1], results=tmp_path, device="cpu", quiet=True)
    table = udonx.run(TABLE3, setting="smoke", rows=["udon_dynamic"], seeds=[1], results=tmp_path, device="cpu", quiet=True)
    baseline, udon = table.row("baseline"), table.row("udon_dynamic")
    assert (baseline.seeds, udon.seeds) == ((0, 1), (1,))
    assert udon.difference == pytest.approx(udon.r1_per_seed[0] - baseline.r1_per_seed[1])
    assert "UDON + dynamic sampler: only seed 1 so far" in table.to_text()

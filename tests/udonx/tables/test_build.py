"""From stored evaluations to a table: its rows, intervals and metrics, and what is said of those
that are not there.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import udonx
from tests.tiny import ROOT, SETTING, write_domain, write_experiment
from tests.udonx.tables.small import Interval
from udonx.cli import main
from udonx.config.experiment import load_experiment
from udonx.planning.load import load_plan
from udonx.running.table import stored_table
from udonx.store.results import Results
from udonx.tables.bootstrap import mean_difference, paired_interval
from udonx.tables.build import _about_own_index, build_table
from udonx.tables.content import OTHER_SEEDS
from udonx.tables.storage import read_table
from udonx.tables.table import Table

TABLE3 = ROOT / "experiments" / "table3_ablation.toml"

OWN_METRIC = '''
from registry import metrics


@metrics.register("{name}")
class OneOfTwo:
    """1 where one of the two nearest neighbours is relevant."""

    label, depth = "R@2", 2

    def __call__(self, relevant_QK, relevant_Q):
        return relevant_QK.any(axis=1) * {factor}
'''
ROWS = """
[rows.start]
scheme = "off_the_shelf"
[rows.baseline]
scheme = "classification"
sampler = "round_robin"
"""
STILL = '[rows.start]\nscheme = "off_the_shelf"\n'
"""Nothing is trained."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two healthy domains."""
    write_domain(tmp_path / "data", "cars")
    write_domain(tmp_path / "data", "food", first_class=5)
    return tmp_path / "data"


def write(tmp_path: Path, metrics: list[str], plugin: str = "", rows: str = ROWS) -> Path:
    """An experiment that shows these metrics."""
    shown = f"metrics = {json.dumps(metrics)}\n" if metrics else ""
    plugins = f'plugins = ["{plugin}"]\n' if plugin else ""
    return write_experiment(tmp_path, plugins + shown + SETTING + rows)


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file of a folder."""
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_metric_of_ones_own_is_a_column_and_nothing_is_trained_for_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plug-in file and its name in the experiment file are all that a new column needs, also of
    rows that were evaluated before: `table` says what lacks, `run` evaluates again.
    """
    options = {"data": data, "results": tmp_path / "results", "device": "cpu"}
    before = udonx.run(write(tmp_path, []), **options)
    stages = contents(tmp_path / "results" / "stages")

    (tmp_path / "mine.py").write_text(OWN_METRIC.format(name="own_r2", factor=0.5))
    file = write(tmp_path, ["r1", "own_r2", "map_r"], plugin="mine.py")
    command = ["table", str(file), "--data", str(data), "--results", str(tmp_path / "results")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert re.search(r"\n +R@1 +R@2 +mAP@R +diff ", shown)
    assert re.search(r"\nbaseline +\d+\.\d +- +- ", shown)
    lacks = "no R@2, mAP@R yet of start; baseline: `udonx run` with the same arguments"
    assert lacks in " ".join(shown.split())

    table = udonx.run(file, **options)
    assert contents(tmp_path / "results" / "stages") == stages
    assert [column.label for column in table.metrics] == ["R@1", "R@2", "mAP@R"]
    assert "yet of" not in str(table) and not re.search(r"\nbaseline +\d+\.\d +-", str(table))
    for row, first in zip(table.rows, before.rows, strict=True):
        assert (row.r1, row.mmp5, row.evaluations) == (first.r1, first.mmp5, first.evaluations)
    stored = tmp_path / "results" / "evaluations" / table.row("baseline").evaluations[0]
    with np.load(stored / "per_query.npz") as arrays:
        assert 0 <= arrays["merged_own_r2"].max() <= 0.5
        by_domain = [
            arrays["merged_own_r2"][arrays["domain"] == domain].mean() for domain in table.domains
        ]
    assert table.row("baseline").metrics["own_r2"].mean == pytest.approx(np.mean(by_domain))
    (line,) = (
        line for line in csv.DictReader(io.StringIO(table.to_csv())) if line["row"] == "baseline"
    )
    assert float(line["own_r2"]) == table.row("baseline").metrics["own_r2"].mean
    assert float(line["cars_own_r2"]) == pytest.approx(by_domain[0]) and "mmp5" not in line
    assert set(table.row("baseline").differences) == {"r1", "own_r2", "map_r"}
    first = tmp_path / "results" / "evaluations" / table.row("start").evaluations[0]
    with np.load(stored / "per_query.npz") as ours, np.load(first / "per_query.npz") as theirs:
        assert (ours["id"] == theirs["id"]).all()
        differences_Q = ours["merged_map_r"] - theirs["merged_map_r"]
        parts = [differences_Q[None, ours["domain"] == domain] for domain in table.domains]
    difference = table.row("baseline").differences["map_r"]
    assert difference.point == pytest.approx(mean_difference(parts))
    assert difference.interval == pytest.approx(paired_interval(parts))
    assert "\nmAP@R minus the first row's\n" in str(table) and "diff R@2" in table.to_markdown()


def test_a_metric_whose_file_was_edited_is_computed_again(data: Path, tmp_path: Path) -> None:
    """No figure of an earlier version of it is shown."""
    options = {"data": data, "results": tmp_path / "results", "device": "cpu"}
    means = []
    for factor in (1.0, 0.25):
        (tmp_path / "edited.py").write_text(OWN_METRIC.format(name="edited_r2", factor=factor))
        table = udonx.run(write(tmp_path, ["edited_r2"], plugin="edited.py", rows=STILL), **options)
        means.append(table.row("start").metrics["edited_r2"].mean)
    assert means[0] > 0 and means[1] == pytest.approx(means[0] / 4)


def test_a_table_keeps_its_metrics_when_another_file_asks_for_more(
    data: Path, tmp_path: Path
) -> None:
    """Two files that share evaluations do not take each other's columns away."""
    options = {"data": data, "results": tmp_path / "results", "device": "cpu"}
    for names in (["r5"], ["mrr"], ["map_r"]):
        udonx.run(write(tmp_path, names, rows=STILL), **options)
    table = udonx.run(write(tmp_path, ["r5", "mrr", "map_r"], rows=STILL), **options)
    stored = tmp_path / "results" / "evaluations" / table.rows[0].evaluations[0] / "metrics.json"
    own = json.loads(stored.read_text())["own"]
    assert {"r1", "mmp5", "r5", "mrr", "map_r"} <= set(own) and set(own["per_domain"]["cars"]) == {
        *("r1", "mmp5", "r5", "mrr", "map_r"),
        "queries",
    }


def test_the_table_of_a_run_is_what_was_evaluated(smoke_run):
    """Means are over the domains of the stored evaluation, the difference is to the first row,
    references have none.
    """
    table = smoke_run.table
    assert [row.name for row in table.rows][-2:] == ["off_the_shelf", "off_the_shelf_pca"]
    for row in table.rows:
        stored = json.loads(
            (smoke_run.results / "evaluations" / row.evaluations[0] / "metrics.json").read_text()
        )["merged"]
        assert row.r1.mean == pytest.approx(
            np.mean([domain["r1"] for domain in stored["per_domain"].values()])
        )
        assert row.per_domain["r1"]["plates"].mean == stored["per_domain"]["plates"]["r1"]
        assert (
            (row.difference is None)
            == (row.interval is None)
            == (row.reference or row.name == "baseline")
        )
    assert table.row("udon").difference == pytest.approx(
        table.row("udon").r1.mean - table.row("baseline").r1.mean
    )
    assert (
        "one seed: the interval covers the choice of queries, not of training seed" in table.footer
    )
    assert [
        table.row(name).steps for name in ("baseline", "separate_teachers", "off_the_shelf")
    ] == [8, 16, 0]
    assert table.row("separate_teachers").images == 16 * 8


def hits_by_query(results: Path, evaluation: str, index: str) -> dict[tuple[str, str], int]:
    """The stored hits, by (domain, id)."""
    with np.load(results / "evaluations" / evaluation / "per_query.npz") as stored:
        queries = zip(stored["domain"].tolist(), stored["id"].tolist(), strict=True)
        return dict(zip(queries, stored[f"{index}_hit"].astype(int).tolist(), strict=True))


def interval_by_hand(
    results: Path, ours: tuple[str, ...], theirs: tuple[str, ...], index: str
) -> Interval:
    """The interval of two rows' evaluations, paired one by one."""
    mine, other = (
        [hits_by_query(results, evaluation, index) for evaluation in side]
        for side in (ours, theirs)
    )
    queries = sorted(mine[0])
    return paired_interval(
        [
            np.array(
                [
                    [m[query] - o[query] for query in queries if query[0] == domain]
                    for m, o in zip(mine, other, strict=True)
                ]
            )
            for domain in sorted({domain for domain, _ in queries})
        ]
    )


def test_intervals_come_from_the_stored_queries(smoke_run):
    """Each row's interval is that of its stored hits minus the first row's; building the table
    again gives the same bytes.
    """
    first = smoke_run.table.row("baseline")
    widths = set()
    for row in smoke_run.table.rows[1:5]:
        assert row.interval == pytest.approx(
            interval_by_hand(smoke_run.results, row.evaluations, first.evaluations, "merged")
        )
        assert row.interval[0] <= row.difference <= row.interval[1]
        widths.add(row.interval[1] - row.interval[0])
    assert max(widths) > 0
    experiment = load_experiment(smoke_run.file, setting="smoke")
    again = stored_table(experiment, smoke_run.results)
    assert (again.to_json(), again.to_text()) == (
        smoke_run.table.to_json(),
        smoke_run.table.to_text(),
    )


def test_a_table_with_damaged_queries_is_shown(smoke_run, tmp_path: Path):
    """One row's per-query results are gone: its difference stays, the footer says what to do, and
    all others have their intervals.
    """
    shutil.copytree(smoke_run.results / "evaluations", tmp_path / "evaluations")
    shutil.copytree(
        smoke_run.results / "stages",
        tmp_path / "stages",
        ignore=shutil.ignore_patterns("*.safetensors"),
    )
    (evaluation,) = smoke_run.table.row("udon").evaluations
    (tmp_path / "evaluations" / evaluation / "per_query.npz").unlink()
    table = stored_table(load_experiment(smoke_run.file, setting="smoke"), tmp_path)
    assert [row.interval is None for row in table.rows] == [
        True,
        False,
        False,
        True,
        False,
        True,
        True,
    ]
    assert table.row("udon").difference == smoke_run.table.row("udon").difference
    assert table.footer[-1].startswith(
        "no interval for UDON, for want of per-query results: UDON, seed 0"
        f" (evaluations/{evaluation}: missing)"
    )


MIXED = """
[setting]
inherit = "smoke"
[setting.data]
domains = ["plates", "logos"]
[defaults]
sampler = "round_robin"
[rows.teachers]
scheme = "separate_teachers"
evaluate = ["teacher"]
[rows.start]
scheme = "off_the_shelf"
[rows.pca]
scheme = { use = "off_the_shelf", reduce = "pca" }
[rows.udon]
scheme = "udon"
evaluate = ["student", "teacher"]
[rows.reference]
scheme = { use = "off_the_shelf", reduce = "pca" }
reference = true
own_index = true
"""


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Path]:
    """Rows of teachers, rows without a seed and a student, two seeds; with the results folder."""
    folder = tmp_path_factory.mktemp("mixed")
    file = write_experiment(folder, MIXED)
    return (
        udonx.run(file, seeds=[0, 1], results=folder / "results", device="cpu"),
        folder / "results",
    )


def test_rows_are_compared_with_the_first_of_their_index(mixed_run):
    """Teachers with the first teachers, merged rows with the first merged row, the first of each
    and references with nothing.
    """
    table, results = mixed_run
    lines = [(row.name, row.branch, row.index, row.difference is not None) for row in table.rows]
    assert lines == [
        ("teachers", "teacher", "own", False),
        ("start", "feature", "merged", False),
        ("pca", "student", "merged", True),
        ("udon", "student", "merged", True),
        ("udon", "teacher", "own", True),
        ("reference", "student", "own", False),
    ]
    teachers, start, pca, udon, udon_teachers, reference = table.rows
    assert (
        reference.evaluations == pca.evaluations and reference.r1 == pca.own_metrics["r1"] != pca.r1
    )
    assert udon_teachers.difference == pytest.approx(udon_teachers.r1.mean - teachers.r1.mean)
    assert udon_teachers.interval == pytest.approx(
        interval_by_hand(results, udon_teachers.evaluations, teachers.evaluations, "own")
    )
    assert udon.difference == pytest.approx(udon.r1.mean - start.r1.mean)


def test_a_first_row_without_a_seed_is_paired_with_every_seed(mixed_run):
    """A deterministic first row stands beside each seed of a trained one; two deterministic rows
    differ by their queries only.
    """
    table, results = mixed_run
    _, start, pca, udon, _, _ = table.rows
    assert (start.seeds, pca.seeds, udon.seeds) == ((None,), (None,), (0, 1))
    assert udon.interval == pytest.approx(
        interval_by_hand(results, udon.evaluations, start.evaluations * 2, "merged")
    )
    assert pca.interval == pytest.approx(
        interval_by_hand(results, pca.evaluations, start.evaluations, "merged")
    )
    assert not any(note.startswith("one seed") for note in table.footer)


def test_rows_of_the_own_domain_index_are_named(mixed_run):
    """The footer names them where there are others too; where there are none it says it of all."""
    table, _ = mixed_run
    searched = "each query is searched in its own domain only"
    assert (
        f"* own-domain index (teachers, udon: teacher, reference): {searched}; not comparable with"
        " the other rows" in table.footer
    )
    assert _about_own_index([row for row in table.rows if row.index == "own"]) == [
        f"own-domain index: in every row {searched}"
    ]
    assert _about_own_index([row for row in table.rows if row.index == "merged"]) == []


def test_rows_that_are_missing_are_said(smoke_run, tmp_path: Path):
    """What has not been run stands below the table."""
    table = stored_table(load_experiment(smoke_run.file, setting="smoke"), tmp_path / "empty")
    assert table.rows == ()
    (line,) = table.missing
    assert line.startswith("not run yet: classification baseline; ") and "; UDON; " in line
    assert table.footer == ()


def test_what_failed_is_said_with_its_reason(smoke_run):
    """A row that this call could not make stands below the table, with the sentence
    that says why.
    """
    plan = load_plan(load_experiment(smoke_run.file, setting="smoke"))
    table = build_table(
        plan, Results(smoke_run.results), failed={"UDON, seed 1": "loss 'mine' is not finite"}
    )
    assert table.missing == ("failed: UDON, seed 1: loss 'mine' is not finite",)
    assert "\nfailed: UDON, seed 1: loss 'mine' is not finite" in table.to_text()


def test_means_over_different_seeds_never_stand_side_by_side_unmarked(tmp_path):
    """The difference to the first row is over the seeds that both have; a row that lacks seeds
    bears a mark, in every form, and says so.
    """
    udonx.run(
        TABLE3,
        setting="smoke",
        rows=["baseline"],
        seeds=[0, 1],
        results=tmp_path,
        device="cpu",
    )
    shown = udonx.run(
        TABLE3,
        setting="smoke",
        rows=["udon_dynamic"],
        seeds=[1],
        results=tmp_path,
        device="cpu",
    )
    assert [row.seeds for row in shown.rows] == [(1,), (1,)] and OTHER_SEEDS not in shown.to_text()
    table = stored_table(load_experiment(TABLE3, setting="smoke"), tmp_path)
    baseline, udon = table.row("baseline"), table.row("udon_dynamic")
    assert (baseline.seeds, udon.seeds) == ((0, 1), (1,))
    assert udon.difference == pytest.approx(udon.r1_per_seed[0] - baseline.r1_per_seed[1])
    assert udon.interval == pytest.approx(
        interval_by_hand(tmp_path, udon.evaluations, baseline.evaluations[1:], "merged")
    )
    assert (
        "one seed: the interval covers the choice of queries, not of training seed" in table.footer
    )
    assert (
        "† UDON + dynamic sampler: only seed 1 so far, so its means are not"
        in table.to_text().replace("\n  ", " ")
    )
    assert (
        "\n† UDON + dynamic sampler " in table.to_text()
        and "\n| † UDON + dynamic sampler | merged | 1 |" in table.to_markdown()
    )
    assert (
        "\nclassification baseline " in table.to_text()
        and "| classification baseline | merged | 0 1 |" in table.to_markdown()
    )
    stored = read_table(tmp_path / "tables" / "table3_ablation" / "smoke")
    assert [row.seeds for row in stored.rows] == [(0, 1), (1,)], "on disk stands every stored seed"


LEAVE_ONE_OUT = """
[defaults]
scheme = "classification"
sampler = "round_robin"
[rows.all]
[rows.without]
label = "without food"
domains = ["cars"]
[rows.start]
scheme = "off_the_shelf"
reference = true
"""


def test_a_row_is_tested_on_domains_that_it_was_not_trained_on_and_they_are_marked(data, tmp_path):
    """Its figures of them bear a mark in every form, a legend explains it, and the means over both
    kinds of domains stand beside it; features as they are have seen no domain more than another.
    """
    file = write_experiment(tmp_path, SETTING + LEAVE_ONE_OUT)
    table = udonx.run(file, data=data, results=tmp_path / "results", device="cpu")
    assert [row.unseen for row in table.rows] == [(), ("food",), ()]
    row = table.row("without")
    cars, food = (row.in_domain("r1", domain).mean for domain in ("cars", "food"))
    assert row.r1.mean == pytest.approx((cars + food) / 2)
    text = table.to_text()
    assert re.search(rf"without food .* {100 * cars:.1f} +{100 * food:.1f}° ", text)
    assert (
        "° a domain that the row was not trained on; every other mean is over all domains" in text
    )
    means = f"without food {100 * cars:.1f} and {100 * food:.1f}"
    assert f"over the domains trained on, and the others: {means}" in " ".join(text.split())
    assert f"| {100 * food:.1f}° |" in table.to_markdown()
    of_all, line, _ = csv.DictReader(io.StringIO(table.to_csv()))
    assert (line["unseen_domains"], of_all["unseen_domains"]) == ("food", "")
    assert float(line["seen_r1"]) == pytest.approx(cars)
    assert float(line["unseen_r1"]) == pytest.approx(food) and of_all["unseen_r1"] == ""
    assert udonx.table(file, data=data, results=tmp_path / "results") == table
    log = (tmp_path / "results" / "stages" / row.stages[0] / "log.jsonl").read_text().splitlines()
    validated = [entry["validation"] for entry in map(json.loads, log) if "validation" in entry]
    assert validated and all(set(entry["per_domain"]) == {"cars"} for entry in validated)


def test_figures_from_elsewhere_come_from_the_file(data: Path, tmp_path: Path) -> None:
    """Those of the shown metrics and of the domains of the data, of rows that are not run too; they
    change no id, and stay in the stored table.
    """
    options = {"data": data, "results": tmp_path / "results", "device": "cpu"}
    plain = udonx.run(write(tmp_path, [], rows=STILL), **options)
    figures = "{ r1 = 99.5, map_r = 9, domains = { cars = { r1 = 80 }, ships = { r1 = 70 } } }"
    other = f'[rows.other]\nscheme = "off_the_shelf"\ntta = "flip"\nreported = {figures}\n'
    file = write(tmp_path, [], rows=f'{STILL}reported = {{ r1 = 50, source = "A" }}\n{other}')
    shown = udonx.run(file, **options, rows=("start",))
    assert shown.rows == plain.rows
    start, other_row = shown.reported
    assert (start.source, start.metrics) == ("A", {"r1": 0.5})
    assert (other_row.metrics, other_row.per_domain) == ({"r1": 0.995}, {"r1": {"cars": 0.8}})
    assert any(
        note.startswith("‡ reported elsewhere") and "(start: A; other: no source given)" in note
        for note in shown.footer
    )
    (stored,) = (tmp_path / "results" / "tables").glob("*/*/table.json")
    assert read_table(stored).reported == shown.reported

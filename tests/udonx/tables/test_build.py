"""Which metrics a table shows: those of its file, a plug-in's among them, from what is stored."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

import udonx
from tests.tiny import SETTING, write_domain, write_experiment
from udonx.cli import main

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

"""The results folder on disk."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import attrs
import numpy as np
import pytest

from udonx.common.files import DamagedFileError
from udonx.store import results as module
from udonx.store.results import Results, Run

RUN = Run(
    file="table", setting="smoke", row="a", seed=0, stages=("s",), sacred_id="1", resumes=None
)


def test_half_a_line_is_dropped_and_cut_before_the_next(tmp_path):
    """runs.jsonl survives a process that was killed while it wrote: readers drop the half line, the
    next writer cuts it.
    """
    results = Results(tmp_path)
    assert results.runs() == []
    results.append_run(attrs.evolve(RUN, row="a"))
    with open(tmp_path / "runs.jsonl", "a") as handle:
        handle.write('{"row": "b", "se')
    assert [run.row for run in results.runs()] == ["a"]
    results.append_run(attrs.evolve(RUN, row="c"))
    assert [run.row for run in results.runs()] == ["a", "c"]


def test_an_evaluation_is_there_when_its_metrics_are(smoke_run, tmp_path):
    """per_query.npz holds every query with its domain, hit and mMP@5 for both indexes; its means
    are those of metrics.json.
    """
    results = Results(smoke_run.results)
    row = smoke_run.table.row("udon")
    stored = results.read_evaluation(row.evaluations[0])
    queries = np.load(results.evaluation(row.evaluations[0]) / "per_query.npz")
    for index in ("merged", "own"):
        for domain, figures in getattr(stored, index).per_domain.items():
            mine = queries["domain"] == domain
            assert (
                np.isclose(queries[f"{index}_hit"][mine].mean(), figures.r1)
                and mine.sum() == figures.queries
            )
            assert np.isclose(queries[f"{index}_mmp5"][mine].mean(), figures.mmp5)
    assert len(set(queries["id"].tolist())) == len(queries["id"])
    assert Results(tmp_path).read_evaluation(row.evaluations[0]) is None


def test_runs_name_row_seed_stages_and_the_sacred_run(smoke_run):
    """Every start of a (row, seed) is a line; the ids lead to the folders."""
    runs = Results(smoke_run.results).runs()
    assert [run.row for run in runs] == [row.name for row in smoke_run.table.rows]
    for run in runs:
        assert all(
            (smoke_run.results / "stages" / stage / "done.json").exists() for stage in run.stages
        )
        assert (
            json.loads((smoke_run.results / "sacred" / run.sacred_id / "config.json").read_text())[
                "row"
            ]
            == run.row
        )
        assert run.seed == (None if run.row.startswith("off") else 0) and run.resumes is None


def strip_digest(file: Path) -> None:
    """Make a JSON file one of an earlier revision, which wrote no digests."""
    content = json.loads(file.read_text())
    del content["digest"]
    file.write_text(json.dumps(content))


@pytest.fixture
def stored(smoke_run, tmp_path: Path) -> tuple[Results, str]:
    """A results folder of one evaluation, and its id."""
    (identity,) = smoke_run.table.row("udon").evaluations
    shutil.copytree(
        smoke_run.results / "evaluations" / identity, tmp_path / "evaluations" / identity
    )
    return Results(tmp_path), identity


def test_files_of_an_earlier_revision_are_read(stored):
    """Neither metrics.json nor a line of runs.jsonl had a digest, nor metrics.json the versions of
    packages and metrics.
    """
    results, identity = stored
    file = results.evaluation(identity) / "metrics.json"
    now = results.read_evaluation(identity)
    strip_digest(file)
    old = json.loads(file.read_text())
    del old["versions"], old["metrics"]
    file.write_text(json.dumps(old))
    assert results.read_evaluation(identity) == attrs.evolve(now, versions={}, metrics={})
    line = {
        "time": "2026-01-01T00:00:00",
        "file": "t",
        "setting": "demo",
        "row": "a",
        "seed": None,
        "stages": ["s"],
        "sacred_id": "1",
    }
    (results.root / "runs.jsonl").write_text(json.dumps({**line, "resumes": None}) + "\n")
    assert results.runs() == [Run(**{**line, "stages": ("s",)}, resumes=None)]


def test_an_evaluation_lacks_what_it_does_not_hold(stored, monkeypatch):
    """A metric that is wanted and not there, or of another version, makes it be made again; what it
    held before is computed with it, unless that is not registered any more.
    """
    results, identity = stored
    file = results.evaluation(identity) / "metrics.json"
    assert results.has_evaluation(identity, ["mmp5", "r1"])
    assert not results.has_evaluation(identity, ["r1", "r5"])
    strip_digest(file)
    content = json.loads(file.read_text())
    for index in (content["own"], content["merged"]):
        index |= {"r5": 0.9, "gone": 0.5}
    file.write_text(json.dumps(content))
    assert results.has_evaluation(identity, ["r5"])
    assert results.metrics_to_compute(identity, ["mrr"]) == ("r1", "mmp5", "mrr", "r5")
    monkeypatch.setattr(module, "version_of", lambda name: "2" if name == "r5" else "1")
    assert not results.has_evaluation(identity, ["r5"]) and results.has_evaluation(identity)


DAMAGES = {
    "one figure": lambda text: text.replace('"r1": 0.', '"r1": 1.', 1),
    "half": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "null": lambda text: "null",
    "a list": lambda text: "[1, 2]",
    "nothing in it": lambda text: "{}",
    "deep": lambda text: "[" * 100_000,
    "another key": lambda text: '{"answer": 42}',
    "a share above one": lambda text: json.dumps(
        {"own": {"r1": 7.0, "mmp5": 0.0, "per_domain": {}, "without_positives": 0}, "stages": {}}
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_metrics_are_named_with_their_cure_and_count_as_not_made(stored, damage):
    """Nothing damaged is believed: `read_evaluation` names the file and what to do,
    `has_evaluation` is false, and `evaluation_problem` is the same sentence.
    """
    results, identity = stored
    file = results.evaluation(identity) / "metrics.json"
    assert results.has_evaluation(identity)
    file.write_text(DAMAGES[damage](file.read_text()))
    with pytest.raises(
        DamagedFileError, match="the same `udonx run` makes it again, and trains nothing for it"
    ) as caught:
        results.read_evaluation(identity)
    problem = results.evaluation_problem(identity)
    assert not results.has_evaluation(identity)
    assert problem == str(caught.value) and str(file) in problem
    results.forget_evaluations(set())
    assert not file.exists(), "--fresh removes what nobody can tell the stages of"


def pipe(file: Path) -> None:
    """Put a pipe in the place of a file."""
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"PK"), pipe])
def test_an_evaluation_without_its_queries_is_made_again(stored, damage):
    """metrics.json alone gives no intervals."""
    results, identity = stored
    file = results.evaluation(identity) / "per_query.npz"
    damage(file)
    assert not results.has_evaluation(identity)
    assert results.evaluation_problem(identity).startswith(f"{file} is ")


def test_a_damaged_line_of_runs_is_logged_and_left_out(tmp_path, logged):
    """One bad line, of whatever kind, costs that line."""
    results = Results(tmp_path)
    for row in "abcd":
        results.append_run(attrs.evolve(RUN, row=row))
    file = tmp_path / "runs.jsonl"
    lines = file.read_text().splitlines()
    file.write_text(
        "\n".join(
            [lines[0], lines[1].replace('"row": "b"', '"row": "x"'), '{"row": 5}', "{", lines[3]]
        )
        + "\n"
    )
    assert [run.row for run in results.runs()] == ["a", "d"] and not logged
    results.log_damaged_runs()
    assert logged == [
        f"{file}: 3 lines damaged and left out; where the table lacks a seed, name it with --seeds"
    ]


def test_a_pipe_in_the_place_of_a_file_is_never_waited_for(stored):
    """metrics.json and runs.jsonl are files or errors."""
    results, identity = stored
    pipe(results.evaluation(identity) / "metrics.json")
    os.mkfifo(results.root / "runs.jsonl")
    for read in (lambda: results.read_evaluation(identity), results.runs):
        with pytest.raises(DamagedFileError, match="is no regular file"):
            read()

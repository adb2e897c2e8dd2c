"""The results folder on disk."""

from __future__ import annotations

import json

import attrs
import numpy as np

from udonx.results.store import Results, Run

RUN = Run(file="table", setting="smoke", row="a", seed=0, stages=("s",), sacred_id="1", resumes=None)


def test_half_a_line_is_dropped_and_cut_before_the_next(tmp_path):
    """runs.jsonl survives a process that was killed while it wrote: readers drop the half line, the next writer cuts it."""
    results = Results(tmp_path)
    assert results.runs() == []
    results.append_run(attrs.evolve(RUN, row="a"))
    with open(tmp_path / "runs.jsonl", "a") as handle:
        handle.write('{"row": "b", "se')
    assert [run.row for run in results.runs()] == ["a"]
    results.append_run(attrs.evolve(RUN, row="c"))
    assert [run.row for run in results.runs()] == ["a", "c"]


def test_an_evaluation_is_there_when_its_metrics_are(smoke_run, tmp_path):
    """per_query.npz holds every query with its domain, hit and mMP@5 for both indexes; its means are those of metrics.json."""
    results = Results(smoke_run.results)
    row = smoke_run.table.row("udon")
    stored = results.read_evaluation(row.evaluations[0])
    queries = np.load(results.evaluation(row.evaluations[0]) / "per_query.npz")
    for index in ("merged", "own"):
        for domain, figures in getattr(stored, index).per_domain.items():
            mine = queries["domain"] == domain
            assert np.isclose(queries[f"{index}_hit"][mine].mean(), figures.r1) and mine.sum() == figures.queries
            assert np.isclose(queries[f"{index}_mmp5"][mine].mean(), figures.mmp5)
    assert len(set(queries["id"].tolist())) == len(queries["id"])
    assert Results(tmp_path).read_evaluation(row.evaluations[0]) is None


def test_runs_name_row_seed_stages_and_the_sacred_run(smoke_run):
    """Every start of a (row, seed) is a line; the ids lead to the folders."""
    runs = Results(smoke_run.results).runs()
    assert [run.row for run in runs] == [row.name for row in smoke_run.table.rows]
    for run in runs:
        assert all((smoke_run.results / "stages" / stage / "done.json").exists() for stage in run.stages)
        assert json.loads((smoke_run.results / "sacred" / run.sacred_id / "config.json").read_text())["row"] == run.row
        assert run.seed == (None if run.row.startswith("off") else 0) and run.resumes is None

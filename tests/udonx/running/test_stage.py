"""What a stage is given when it is run."""

from __future__ import annotations

from pathlib import Path

import pytest

import udonx
import udonx.running.stage
from udonx.engine.job import Job
from udonx.engine.train import run_stage

TABLE = """
title = "Few labels"
setting = "smoke"
seeds = [0, 1]

[defaults]
scheme = "udon"
sampler = "round_robin"

[rows.few]
subset = { labelled = 0.4, long_tail = 2 }

[rows.pca]
scheme = "as_is"
init = { use = "same", from = "few" }
student_head = { use = "pca" }
"""


def test_a_row_sees_its_part_of_images_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each seed has a part of its own; a head that is fitted afterwards sees the same as the
    training.
    """
    jobs: list[Job] = []

    def kept(job: Job) -> object:
        jobs.append(job)
        return run_stage(job)

    monkeypatch.setattr(udonx.running.stage, "run_stage", kept)
    file = tmp_path / "few.toml"
    file.write_text(TABLE)
    table = udonx.run(file, results=tmp_path / "results", device="cpu")
    assert [row.name for row in table.rows] == ["few", "pca"]
    seen = [
        {domain: job.benchmark.split(domain, "train") for domain in job.spec.domains}
        for job in jobs
    ]
    first, fitted, second, _ = seen
    paths, labels = (
        {name: getattr(split, what) for name, split in first.items()}
        for what in ("paths", "class_ids")
    )
    assert all(fitted[name].paths == paths[name] for name in paths)
    assert all((fitted[name].class_ids == labels[name]).all() for name in labels)
    assert any(second[name].paths != paths[name] for name in paths)
    whole = udonx.run(
        file,
        results=tmp_path / "whole",
        device="cpu",
        rows=["few"],
        seeds=[0],
        overrides=["subset.labelled=1"],
    )
    assert whole.row("few").stages != table.row("few").stages

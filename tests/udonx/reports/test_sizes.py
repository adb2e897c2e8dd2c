"""How large a row's models are, from what their stages keep."""

from __future__ import annotations

import pytest
import torch

from tests.udonx.reports.small import write_results
from udonx.reports.sizes import ModelSize, read_size
from udonx.reports.source import read_sources
from udonx.store.stage import StageModel


def write_stage(results, stage: str, spec: dict) -> None:
    """A stage's model.json and weights."""
    folder = results.stage(stage)
    model = StageModel(id=stage, data={}, plugins=[], spec=spec, classes={}, class_ids={})
    folder.write_spec({}, model)
    folder.save_best(
        {
            "backbone.conv": torch.zeros(3, 4),
            "backbone.bn.running_mean": torch.zeros(100),
            "student_head.weight": torch.zeros(2, 4),
            "teacher_heads.0.weight": torch.zeros(1000),
            "student_classifiers.0": torch.zeros(1000),
        }
    )


@pytest.mark.parametrize(
    ("spec", "dim"), [({"student_head": {"dim": 2}}, 2), ({}, None), ({"student_head": None}, None)]
)
def test_parameters_are_those_that_embed(tmp_path, spec, dim):
    """Backbone and head count; classifiers, other heads and running statistics do not."""
    results = write_results(tmp_path)
    write_stage(results, "udon-stage-0", spec)
    ((source,), _) = read_sources(results)
    assert read_size(source, source.table.rows[1]) == ModelSize(parameters=20, dim=dim)


def test_a_size_that_is_gone_is_not_known(tmp_path):
    """Without the stage, or with half a file, nothing is guessed."""
    results = write_results(tmp_path)
    ((source,), _) = read_sources(results)
    assert read_size(source, source.table.rows[1]) == ModelSize()
    write_stage(results, "udon-stage-0", {})
    results.stage("udon-stage-0").best.write_bytes(b"half a file")
    assert read_size(source, source.table.rows[1]) == ModelSize()

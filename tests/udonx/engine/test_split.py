"""Stages whose update rule takes the gradients of task and distillation apart."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from registry.contracts import Average, ComponentSpec, LossSpec, Optimiser, StageSpec
from tests.udonx.engine.small import (
    PAIR,
    STUDENT_CE,
    TEACHER_CE,
    UDON,
    kept,
    small_job,
    small_spec,
    training,
)
from udonx.data.benchmark import Benchmark
from udonx.engine.train import run_stage

DOT, DOT_ADAM = ComponentSpec(use="dot"), ComponentSpec(use="dot_adam")
SGD = ComponentSpec(use="sgd", options={"momentum": 0.9})
OPTIMISER = Optimiser(
    lr_heads=2e-2, lr_backbone=2e-3, frozen=2, inactive_heads="skip", weight_decay=1e-3
)


def split_spec(update: ComponentSpec, **changes: Any) -> StageSpec:
    """A UDON stage of 8 steps with an update rule."""
    values = {"steps": 8, "validate_every": 4, "optimiser": OPTIMISER, **changes}
    return small_spec(update=update, **values)


def weights_after(folder: Path, spec: StageSpec, benchmark: Benchmark) -> dict[str, torch.Tensor]:
    """The weights of a stage after its last step."""
    loop = training(small_job(folder, spec, benchmark))
    loop.run()
    return loop.model.state_dict()


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": (STUDENT_CE,), "teacher_head": None},
        {"losses": (TEACHER_CE, STUDENT_CE)},
        {"losses": PAIR},
    ],
    ids=["student", "no_pair", "no_task"],
)
def test_of_one_part_it_is_sgd(
    small_benchmark: Benchmark, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """A stage without losses between student and teacher, or with no others, gives the bytes of SGD
    with the same momentum.
    """
    folders = []
    for update in (DOT, SGD):
        job = small_job(tmp_path / update.use, split_spec(update, **changes), small_benchmark)
        run_stage(job)
        folders.append(job.folder)
    assert kept(folders[0]) == kept(folders[1])


@pytest.mark.parametrize(
    ("update", "theirs"),
    [(DOT, SGD), (DOT_ADAM, ComponentSpec(use="adamw"))],
    ids=["dot", "dot_adam"],
)
def test_delta_is_all_that_it_changes(
    small_benchmark: Benchmark, tmp_path: Path, update: ComponentSpec, theirs: ComponentSpec
) -> None:
    """With delta 0 a UDON stage ends near the weights of the rule that is extended, with another
    delta it does not.
    """
    plain = weights_after(tmp_path / "theirs", split_spec(theirs), small_benchmark)
    none = attrs.evolve(update, options={"delta": 0.0})
    for name, ours in weights_after(tmp_path / "none", split_spec(none), small_benchmark).items():
        torch.testing.assert_close(ours, plain[name], rtol=1e-3, atol=1e-4)
    own = weights_after(tmp_path / "own", split_spec(update), small_benchmark)
    head = "student_head.projection.weight"
    assert (own[head] - plain[head]).abs().max() > 1e-3


@pytest.mark.parametrize("update", [DOT, DOT_ADAM], ids=["dot", "dot_adam"])
@pytest.mark.parametrize("stop", [1, 6])
def test_resume_is_exact(
    small_benchmark: Benchmark, tmp_path: Path, proxies: type, update: ComponentSpec, stop: int
) -> None:
    """With layer rates, an anchor, weight decay, a frozen phase, an average and a loss that has
    parameters, a stage that is stopped gives the bytes of one that is not.
    """
    spec = split_spec(
        update,
        losses=(*UDON, LossSpec(name="proxies", use="proxies", on="student")),
        optimiser=attrs.evolve(OPTIMISER, layer_decay=0.5, anchor=5.0),
        average=Average(use="ema", decay=0.75, start=3),
    )
    whole = small_job(tmp_path / "whole", spec, small_benchmark)
    run_stage(whole)
    job = small_job(tmp_path / "stopped", spec, small_benchmark, checkpoint_seconds=0.0)
    with closing(training(job).steps()) as steps:
        next(step for step in steps if step == stop)
    assert job.folder.started
    run_stage(job)
    assert kept(job.folder) == kept(whole.folder)


def test_distillation_that_stops_at_the_head_leaves_the_backbone_to_the_task(
    small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """With `distill_to_backbone` off only the student's head and columns have both moments."""
    optimiser = attrs.evolve(OPTIMISER, frozen=0)
    spec = split_spec(DOT, steps=1, optimiser=optimiser, distill_to_backbone=False)
    loop = training(small_job(tmp_path, spec, small_benchmark))
    loop.run()
    moments = {
        name: set(loop.optimiser.adamw.state[parameter])
        for name, parameter in loop.model.named_parameters()
    }
    for name, found in moments.items():
        if name.startswith("student_head."):
            assert found == {"task", "distill"}, name
        elif name.startswith(("backbone.", "teacher_heads.0.")):
            assert found == {"task"}, name
    assert moments["student_classifiers.parts.0.kernel_CD"] == {"task", "distill"}
    assert moments["teacher_heads.1.projection.weight"] == set()


def test_parameters_of_a_loss_are_moved(
    small_benchmark: Benchmark, tmp_path: Path, proxies: type
) -> None:
    """What a loss on a branch owns has the task's moment alone, once its domain had its turn."""
    losses = (*UDON, LossSpec(name="proxies", use="proxies", on="student"))
    loop = training(small_job(tmp_path, split_spec(DOT, losses=losses, steps=1), small_benchmark))
    own = dict(loop.objective.named_parameters())
    before = {name: value.detach().clone() for name, value in own.items()}
    loop.run()
    moved = {name for name, value in own.items() if not torch.equal(value, before[name])}
    assert [name.rpartition(".")[2] for name in moved] == ["glyphs"]
    assert {name for name in own if set(loop.optimiser.adamw.state[own[name]]) == {"task"}} == moved


def test_heads_that_drift_are_refused(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A stage that no check has seen says what does not fit."""
    spec = split_spec(DOT, optimiser=attrs.evolve(OPTIMISER, inactive_heads="drift"))
    with pytest.raises(ValueError, match=r"update 'dot' must know .* 'drift' .*; use 'skip'"):
        training(small_job(tmp_path, spec, small_benchmark))

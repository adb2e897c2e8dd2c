"""The training loop: what a step does and may not do, what ends it, and what hooks hear."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from registry import losses
from registry.contracts import ComponentSpec, HeadSpec, LossSpec, Optimiser, Subset, TeacherSpec
from tests.udonx.engine.small import (
    LONG,
    PAIR,
    STUDENT_CE,
    TEACHER_CE,
    dynamic,
    same,
    small_job,
    small_spec,
    snapshot,
    totals,
    training,
)
from udonx.data.benchmark import Benchmark
from udonx.data.loader import BatchLoader
from udonx.engine.errors import TrainingError
from udonx.engine.hooks import Hook, Lap, Validation
from udonx.engine.loop import Loop
from udonx.engine.train import run_stage
from udonx.store.stage import StageFolder


def test_a_weight_follows_the_step(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """The totals of the log have the weights of their own steps."""
    ramped = LossSpec(name="proxy", use="proxy_anchor", on="student", weight=2.0, ramp=3)
    spec = small_spec(
        steps=5, validate_every=5, losses=(STUDENT_CE, ramped), teacher_head=None, batch=4
    )
    job = small_job(tmp_path, spec, small_benchmark)
    run_stage(job)
    laps = [entry for entry in job.folder.read_log() if "total" in entry]
    assert len(laps) == 5
    for step, (lap, weight) in enumerate(zip(laps, (0, 2 / 3, 4 / 3, 2, 2), strict=True)):
        expected = (lap["losses"]["student_ce"] + weight * lap["losses"]["proxy"]) / 3
        assert lap["total"] == pytest.approx(expected, rel=1e-5), step


def test_a_state_of_a_loss_that_is_not_finite(
    small_benchmark: Benchmark, tmp_path: Path, proxies: type
) -> None:
    """A parameter or buffer of a loss that is not finite stops the run before anything is kept."""
    spec = small_spec(
        steps=2,
        validate_every=2,
        losses=(STUDENT_CE, LossSpec(name="p", use="proxies", on="student")),
        teacher_head=None,
    )
    for spoiled in ("mean", "proxies.logos"):
        loop = training(small_job(tmp_path / spoiled, spec, small_benchmark))
        (loss,) = loop.objective.stateful
        with pytest.raises(TrainingError, match="a weight or buffer of a loss is not finite"):
            for step in loop.steps():
                if step == 1:
                    dict(loss.state_dict())[spoiled].fill_(torch.inf)
                    loop._check_finite()
        assert not loop.job.folder.started


@pytest.mark.parametrize("where", ["loss", "weight"])
def test_not_finite(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A loss or weight that is not finite stops the run in one sentence before anything is kept:
    checkpoint and best weights are good.
    """
    whole = Loop._train_step

    def poisoned(self: Loop, step: int, batch: Any) -> None:
        # the window is updated at 63, the log is due at 60, the validation too
        if where == "loss" and step == 58:
            self.model.student_head.projection.weight.data.fill_(torch.nan)
        whole(self, step, batch)
        if where == "weight" and step == 59:
            self.model.student_head.projection.weight.data[0, 0] = torch.inf

    monkeypatch.setattr(Loop, "_train_step", poisoned)
    job = small_job(tmp_path, small_spec(**LONG), small_benchmark)
    monkeypatch.setattr(Loop, "_end_lap", lambda self: "")  # the log interval may be long
    with pytest.raises(TrainingError, match="not finite") as caught:
        run_stage(job)
    assert "\n" not in str(caught.value)
    state = job.folder.load_state(torch.device("cpu"))
    assert state["step"] == 30 and job.folder.done is None
    for tensors in (state["model"], job.folder.load_best()):
        assert all(value.isfinite().all() for value in tensors.values())


def test_not_finite_at_log_interval(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is not finite stops the run at the next log interval, by name."""
    loop = training(small_job(tmp_path, small_spec(), small_benchmark))
    steps = loop.steps()
    next(steps)
    loop.model.teacher_heads[1].projection.bias.data.fill_(torch.nan)
    with pytest.raises(
        TrainingError,
        match="teacher_ce, kl_logit, relational, total is not finite between steps 1 and 2",
    ):
        next(steps)


@pytest.mark.parametrize("policy", ["drift", "skip"])
def test_inactive_heads(small_benchmark: Benchmark, tmp_path: Path, policy: str) -> None:
    """After its step a domain's head keeps moving by momentum under `drift` and stays bit for bit
    under `skip`, in the loop itself.
    """
    spec = small_spec(optimiser=Optimiser(lr_heads=2e-3, frozen=0, inactive_heads=policy))
    loop = training(small_job(tmp_path, spec, small_benchmark))
    steps = loop.steps()
    own = [
        loop.model.teacher_heads[0],
        loop.model.teacher_classifiers.parts[0],
        loop.model.student_classifiers.parts[0],
    ]
    never = loop.model.teacher_heads[1]
    start = snapshot(never)
    next(steps)
    assert same(start, snapshot(never)), "a head that was never active does not move under either"
    after = [snapshot(part) for part in own]
    next(steps)
    assert [same(before, snapshot(part)) for before, part in zip(after, own, strict=True)] == [
        policy == "skip"
    ] * 3
    steps.close()


@pytest.mark.parametrize(
    ("method", "does", "message"),
    [
        (
            "update",
            lambda step, sums: {}[step],
            r"sampler 'dynamic' failed at .*test_loop\.py:\d+: KeyError: 7",
        ),
        (
            "update",
            lambda step, sums: None,
            r"sampler 'dynamic' stands still: known_until\(\) is 7 after update\(7\)",
        ),
        (
            "domain_at",
            lambda step: 1 / 0,
            r"sampler 'dynamic' failed at .*test_loop\.py:\d+: ZeroDivisionError",
        ),
        (
            "state_dict",
            lambda: {"weights": {"cars": np.float64(1)}},
            r"state_dict\(\)\['weights'\]\['cars'\] is a numpy\.float64",
        ),
    ],
)
def test_a_sampler_that_fails(
    small_benchmark: Benchmark, tmp_path: Path, method: str, does: Any, message: str
) -> None:
    """A sampler that fails, stands still or keeps what no checkpoint can hold ends the stage in one
    sentence; no such checkpoint is written.
    """
    loop = training(
        small_job(tmp_path, small_spec(**LONG), small_benchmark, checkpoint_seconds=0.0)
    )
    setattr(loop.sampler.__wrapped__, method, does)
    with pytest.raises(TrainingError, match=message) as caught:
        loop.run()
    assert "\n" not in str(caught.value)
    assert method == "update" or not loop.job.folder.started


class CountSyncs(TorchDispatchMode):
    """Counts what makes the host wait for a device: reading a scalar, and sizes that depend on
    values.
    """

    waiting = frozenset(
        {
            "_local_scalar_dense",
            "nonzero",
            "masked_select",
            "unique_dim",
            "_unique2",
            "equal",
            "is_nonzero",
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in self.waiting:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


AS_LONG = HeadSpec(use="linear", dim=32)
"""The student's embedding has the length of its teachers', which `cosine_match` asks for."""

WRAPPED = {"pml"}
"""Losses of other libraries, which may read values back in every step."""


def every_loss(*, of_a_teacher: bool) -> tuple[LossSpec, ...]:
    """Every loss that ships, with its defaults: on the student, or between it and a teacher."""
    return tuple(
        LossSpec(name=name, use=name, on=None if of_a_teacher else "student")
        for name in losses.registry.builtin
        if name not in WRAPPED and losses.describe(name).facts["needs_teacher"] == of_a_teacher
    )


@pytest.mark.parametrize(
    "scheme", ["udon", "distilled", "classification", "every loss", "every pair", "few labels"]
)
@pytest.mark.parametrize(
    ("policy", "update"),
    [
        ("drift", None),
        ("skip", None),
        ("drift", "sgd"),
        ("skip", "sgd"),
        ("skip", "dot"),
        ("skip", "dot_adam"),
    ],
)
def test_no_host_sync(
    small_benchmark: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    policy: str,
    update: str | None,
) -> None:
    """A training step reads nothing back from the device, in any scheme, with any loss, frozen or
    not: every sum stays there until the log interval.
    """
    common = {
        "update": update and ComponentSpec(use=update),
        "steps": 4,
        "batch": 4,
        "optimiser": Optimiser(frozen=2, inactive_heads=policy),
        "validate_every": 4,
    }
    changes, teachers = (
        {
            "udon": {"sampler": dynamic(2)},
            "classification": {"losses": (STUDENT_CE,), "teacher_head": None},
            "every loss": {"losses": every_loss(of_a_teacher=False), "teacher_head": None},
            "every pair": {
                "losses": (STUDENT_CE, TEACHER_CE, *every_loss(of_a_teacher=True)),
                "student_head": AS_LONG,
            },
            "few labels": {
                "student_head": AS_LONG,
                "losses": (
                    TEACHER_CE,
                    *every_loss(of_a_teacher=False),
                    *every_loss(of_a_teacher=True),
                ),
            },
        },
        (),
    )
    if scheme == "distilled":
        earlier = small_spec(student_head=None, losses=(TEACHER_CE,), **common)
        run_stage(small_job(tmp_path / "teacher", earlier, small_benchmark))
        teachers = (StageFolder(tmp_path / "teacher"),)
        changes["distilled"] = {
            "losses": (STUDENT_CE, *PAIR),
            "teacher_head": None,
            "teachers": (TeacherSpec(stage=earlier),),
        }
    subset = Subset(labelled=0.3) if scheme == "few labels" else None
    loop = training(
        small_job(
            tmp_path / "stage",
            small_spec(**common, **changes[scheme]),
            small_benchmark.subset(subset, 0),
            teachers=teachers,
        )
    )
    calls: list[str] = []
    whole = Loop._train_step

    def watched(self: Loop, step: int, batch: Any) -> None:
        with monkeypatch.context() as patch, CountSyncs() as mode:
            for name in ("item", "cpu", "tolist", "numpy", "__bool__", "__float__", "__int__"):
                original = getattr(torch.Tensor, name)
                patch.setattr(
                    torch.Tensor,
                    name,
                    lambda one, *args, name=name, original=original: (
                        calls.append(name) or original(one, *args)
                    ),
                )
            whole(self, step, batch)
        calls.extend(mode.found)

    monkeypatch.setattr(Loop, "_train_step", watched)
    assert loop.run().steps == 4
    assert calls == []


def driven(loop: Loop, steps: int) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """(steps done, the backbone's state) after each of the first `steps` steps."""
    going = loop.steps()
    for _ in range(steps):
        done = next(going)
        yield done, snapshot(loop.model.backbone)
    going.close()


@pytest.mark.parametrize(("freeze", "held"), [("no_grad", 3), ("zero_lr", 3), ("official", 4)])
def test_frozen_phase(small_benchmark: Benchmark, tmp_path: Path, freeze: str, held: int) -> None:
    """While frozen, no bit of the backbone changes, buffers included; then its parameters move, and
    with `batch_norm = "fixed"` its running statistics never do.
    """
    spec = small_spec(
        optimiser=Optimiser(lr_heads=2e-3, lr_backbone=1e-3, frozen=3, freeze=freeze),
        validate_every=5,
    )
    loop = training(small_job(tmp_path, spec, small_benchmark))
    start = snapshot(loop.model.backbone)
    buffers = {name for name, _ in loop.model.backbone.named_buffers()}
    assert any("running_mean" in name for name in buffers)
    for done, state in driven(loop, 7):
        assert same(state, start) == (done <= held)
        assert all(torch.equal(state[name], start[name]) for name in buffers)
    moved = [
        name for name in start if name not in buffers and not torch.equal(start[name], state[name])
    ]
    assert len(moved) == len(list(loop.model.backbone.named_parameters()))


def test_batch_norm_training(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """With `batch_norm = "training"` running statistics follow the batches, and a validation
    between two steps does not touch them.
    """
    loop = training(
        small_job(
            tmp_path, small_spec(batch_norm="training", steps=4, validate_every=1), small_benchmark
        )
    )
    name = next(name for name, _ in loop.model.backbone.named_buffers() if "running_mean" in name)
    states = [state[name] for _, state in driven(loop, 2)]
    assert not torch.equal(*states)
    job = small_job(
        tmp_path / "seldom",
        small_spec(batch_norm="training", steps=4, validate_every=4),
        small_benchmark,
    )
    assert torch.equal(states[1], [state[name] for _, state in driven(training(job), 2)][1])


def test_bf16(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """Under bf16 only the backbone computes in bf16: heads, losses, parameters and what is kept are
    float32.
    """
    loop = training(
        small_job(
            tmp_path, small_spec(precision="bf16", steps=4, validate_every=4), small_benchmark
        )
    )
    seen: dict[str, set[torch.dtype]] = {"backbone": set(), "heads": set()}
    loop.model.backbone.register_forward_hook(
        lambda module, args, out: seen["backbone"].add(out.dtype)
    )
    for head in (loop.model.student_head, *loop.model.teacher_heads):
        head.register_forward_hook(
            lambda module, args, out: seen["heads"].update({args[0].dtype, out.dtype})
        )
    loop.run()
    assert seen == {"backbone": {torch.bfloat16}, "heads": {torch.float32}}
    assert {
        value.dtype for value in loop.job.folder.load_best().values() if value.is_floating_point()
    } == {torch.float32}
    assert all(np.isfinite(totals(loop.job.folder)))


class Listener(Hook):
    """Keeps what it hears, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.laps: list[Lap] = []
        self.validations: list[Validation] = []

    def on_lap(self, lap: Lap) -> None:
        self.heard.append(("lap", lap.last))
        self.laps.append(lap)

    def on_validation(self, validation: Validation) -> None:
        self.heard.append(("validation", validation.step))
        self.validations.append(validation)

    def on_checkpoint(self, step: int) -> None:
        self.heard.append(("checkpoint", step))


def test_hooks_hear_laps_validations_and_checkpoints(
    small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """Every hook hears of each lap, each validation and the checkpoint after it, in this order,
    with the figures of the log.
    """
    hooks = (Listener(), Listener())
    spec = small_spec(steps=4, validate_every=2)
    job = small_job(tmp_path, spec, small_benchmark, hooks=hooks)
    run_stage(job)
    for hook in hooks:
        assert hook.heard == [
            ("lap", 1),
            ("lap", 2),
            ("validation", 2),
            ("checkpoint", 2),
            ("lap", 3),
            ("lap", 4),
            ("validation", 4),
            ("checkpoint", 4),
        ]
        assert [(lap.first, lap.last) for lap in hook.laps] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    log = job.folder.read_log()
    assert [(lap.total, lap.losses) for lap in hooks[0].laps] == [
        (entry["total"], entry["losses"]) for entry in log if "total" in entry
    ]
    assert [validation.result.main.r1 for validation in hooks[0].validations] == [
        entry["validation"]["r1"] for entry in log if "validation" in entry
    ]


def test_hooks_hear_of_checkpoints_between_validations(
    small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """A checkpoint that is due between two validations is heard of too."""
    hook = Listener()
    spec = small_spec(steps=3, validate_every=3)
    run_stage(small_job(tmp_path, spec, small_benchmark, checkpoint_seconds=0.0, hooks=(hook,)))
    checkpoints = [step for kind, step in hook.heard if kind == "checkpoint"]
    assert checkpoints == [1, 2, 3]


def test_what_a_hook_raises_ends_the_training(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """An error of a hook is not swallowed."""

    class Failing(Hook):
        def on_lap(self, lap: Lap) -> None:
            raise LookupError("mine")

    job = small_job(tmp_path, small_spec(steps=2), small_benchmark, hooks=(Failing(),))
    with pytest.raises(LookupError, match="mine"):
        run_stage(job)
    assert not job.folder.finished


def test_what_was_unreadable_is_listed_for_checkpoints_and_not_in_every_step(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of millions of images thousands may be left out: their list is sorted where it is kept."""
    listed: list[int] = []
    whole = BatchLoader.unreadable.fget
    monkeypatch.setattr(
        BatchLoader, "unreadable", property(lambda self: listed.append(1) or whole(self))
    )
    saved: list[int] = []

    class Counts(Hook):
        def on_checkpoint(self, step: int) -> None:
            saved.append(step)

    job = small_job(tmp_path, small_spec(**LONG), small_benchmark, hooks=(Counts(),))
    run_stage(job)
    assert len(listed) == len(saved) < LONG["steps"] // 4

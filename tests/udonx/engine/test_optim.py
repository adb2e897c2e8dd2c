"""The two-group AdamW against the official updates, and its policies: frozen phase, inactive heads,
schedules.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from registry import backbones, updates
from registry.classifiers.cosine import CosineClassifier
from registry.contracts import Optimiser, Schedule, Start
from registry.heads.linear import LinearHead
from registry.updates.adamw import adamw
from registry.updates.split import SplitUpdate
from tests.parity import below, read_arrays, read_json, tensor, tiny_vit_kwargs
from udonx.engine.model import Classifiers, Model
from udonx.engine.objective import BatchLosses
from udonx.engine.optim import TwoGroups, UpdateRule, layer_factors, schedule_factor

CONSTANT = Schedule()


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(*shape))


def optimiser(
    backbone: list[nn.Parameter],
    heads: list[nn.Parameter],
    *,
    schedule: Schedule = CONSTANT,
    steps: int = 100,
    factors: dict[nn.Parameter, float] | None = None,
    update: UpdateRule = adamw,
    **options,
) -> TwoGroups:
    return TwoGroups(
        backbone,
        heads,
        Optimiser(**{"frozen": 0, "weight_decay": 0.0, **options}),
        schedule,
        steps,
        factors or {},
        update,
    )


@pytest.mark.parametrize("decay", ["1e-06", "0.1"])
def test_official_updates(shared_dir: Path, decay: str) -> None:
    """Twelve official updates are followed parameter by parameter: frozen phase and its extra step,
    drift, a domain never active.
    """
    arrays, facts = read_arrays(shared_dir, "optimizer"), read_json(shared_dir, "optimizer")
    steps = below(arrays, f"optimizer/wd{decay}/")
    names = list(below(steps, "step0/"))
    parameters = {name: nn.Parameter(tensor(steps[f"step0/{name}"])) for name in names}
    is_head = {name: "projection" in name for name in names}
    ours = optimiser(
        [parameters[name] for name in names if not is_head[name]],
        [parameters[name] for name in names if is_head[name]],
        frozen=facts["optimizer_frozen_steps"],
        freeze="official",
        weight_decay=float(decay),
    )
    count = len(facts["optimizer_domain_sequence"])
    for step in range(count):
        assert ours.prepare(step), "the official frozen phase computes gradients"
        for name in names:
            gradient = tensor(steps[f"grad{step + 1}/{name}"])
            if parameters[name].grad is None:
                parameters[name].grad = gradient
            else:
                parameters[name].grad += gradient  # what backward does with a head's zeros
        ours.step()
        for name in names:
            expected = steps[f"step{step + 1}/{name}"]
            np.testing.assert_allclose(
                parameters[name].detach(),
                expected,
                rtol=1e-6,
                atol=1e-7,
                err_msg=f"{name} after step {step + 1}",
            )
    never = [name for name in names if "_domain_2/" in name or name.endswith("_2/kernel")]
    assert never
    if decay == "1e-06":
        assert all(
            np.array_equal(parameters[name].detach(), steps[f"step0/{name}"]) for name in never
        )


def test_groups_by_name(shared_dir: Path) -> None:
    """Projections and classifiers of student and teachers are heads, everything else is backbone,
    as the official code groups them.
    """
    domains, classes = ("a", "b", "c"), (7, 11, 5)
    backbone = backbones.get("timm")(
        Start(folder=None, crop=32), model="vit_tiny_patch16_224", kwargs=tiny_vit_kwargs()
    )
    model = Model(
        backbone=backbone,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        crop=32,
        domains=domains,
        student_head=LinearHead(64, 8),
        student_classifiers=Classifiers(
            [CosineClassifier(8, count) for count in classes], domains, False
        ),
        teacher_heads=[LinearHead(64, 16) for _ in domains],
        teacher_classifiers=Classifiers(
            [CosineClassifier(16, count) for count in classes], domains, False
        ),
    )
    groups = read_json(shared_dir, "optimizer")["groups_udon"]
    assert {"projection" in name for name in groups["head_group"]} == {True}
    backbone, heads = model.parameter_groups()
    assert len(heads) == len(groups["head_group"])
    # timm holds query, key and value as one: 2 x (3 - 1) arrays fewer in each of the two blocks
    assert len(backbone) == len(groups["backbone_group"]) - 2 * 4
    assert {id(one) for one in model.parameters()} == {id(one) for one in [*backbone, *heads]}


def test_groups_of_the_published_baselines(shared_dir: Path) -> None:
    """In the published baselines the projection is held and trained with the backbone; only
    classifiers are heads.
    """
    domains = ("a", "b", "c")
    model = Model(
        backbone=backbones.get("timm")(
            Start(folder=None, crop=32), model="vit_tiny_patch16_224", kwargs=tiny_vit_kwargs()
        ),
        mean=(0, 0, 0),
        std=(1, 1, 1),
        crop=32,
        domains=domains,
        student_head=LinearHead(64, 8),
        student_classifiers=Classifiers(
            [CosineClassifier(8, count) for count in (7, 11, 5)], domains, False
        ),
    )
    groups = read_json(shared_dir, "optimizer")["groups_baseline_uscrr"]
    backbone, heads = model.parameter_groups("backbone")
    assert [id(one) for one in heads] == [id(one) for one in model.student_classifiers.parameters()]
    assert (
        len(heads) == len(groups["head_group"])
        and len(backbone) == len(groups["backbone_group"]) - 2 * 4
    )
    assert {id(one) for one in model.student_head.parameters()} <= {id(one) for one in backbone}


def test_a_projection_that_is_held_starts_its_count_when_it_wakes():
    """Under `no_grad` a projection in the backbone's group gets a gradient while it is held:
    neither it nor its moments move.
    """
    projection, head = parameter(1), parameter(1)
    ours = optimiser(
        [projection], [head], lr_heads=1e-3, lr_backbone=1e-3, frozen=2, freeze="no_grad"
    )
    before = projection.detach().clone()
    for step in range(3):
        ours.prepare(step)
        projection.grad = torch.ones_like(projection)
        head.grad += 1.0
        ours.step()
        assert torch.equal(projection, before) == (step < 2)
    assert ours.adamw.state[projection]["step"] == 1 and ours.adamw.state[head]["step"] == 3


def test_momentum_drift(shared_dir: Path) -> None:
    """A head that is active in one step of eight moves 0.496 lr on that step and 2.332 lr on the
    seven others (bias correction settled).
    """
    facts = read_json(shared_dir, "optimizer")["momentum_drift_one_in_eight"]
    head, lr, cycles = parameter(1), 1e-3, 1500
    ours = optimiser([], [head], lr_heads=lr)
    moved = []
    for step in range(8 * cycles):
        ours.prepare(step)
        if step % 8 == 0:
            head.grad += 1.0
        before = head.item()
        ours.step()
        moved.append((before - head.item()) / lr)
    cycle = moved[-8:]
    np.testing.assert_allclose(
        cycle, facts["update_in_units_of_lr_over_one_cycle_first_is_the_active_step"], rtol=2e-3
    )
    assert cycle[0] == pytest.approx(0.496, abs=2e-3)
    assert sum(cycle[1:]) == pytest.approx(2.332, abs=5e-3)
    assert sum(cycle) == pytest.approx(facts["sum"], rel=2e-3)


def test_skip_leaves_inactive_heads_untouched() -> None:
    """Under `skip` a head without a gradient keeps its bits and its own step count, and moves as if
    it were trained alone.
    """
    often, rarely, alone = parameter(3), parameter(3), parameter(3)
    ours, single = (
        optimiser([], [often, rarely], inactive_heads="skip"),
        optimiser([], [alone], inactive_heads="skip"),
    )
    generator = torch.Generator().manual_seed(0)
    for step in range(12):
        gradient = torch.randn(3, generator=generator)
        ours.prepare(step)
        often.grad = gradient.clone()
        before = rarely.detach().clone()
        if step % 4 == 1:
            rarely.grad = gradient.clone()
            single.prepare(step)
            alone.grad = gradient.clone()
            single.step()
        ours.step()
        assert torch.equal(before, rarely) != (step % 4 == 1)
    assert torch.equal(rarely, alone)
    assert [int(ours.adamw.state[one]["step"]) for one in (often, rarely)] == [12, 3]


@pytest.mark.parametrize(
    ("freeze", "held", "backward", "count"),
    [("no_grad", 3, 3, 2), ("zero_lr", 3, 0, 5), ("official", 4, 0, 5)],
)
def test_freeze(freeze: str, held: int, backward: int, count: int) -> None:
    """`no_grad` and `zero_lr` hold the backbone for exactly `frozen` steps, `official` for one
    more; only `no_grad` needs no backward and starts its Adam count when it wakes.
    """
    backbone, head = parameter(2), parameter(2)
    ours = optimiser([backbone], [head], frozen=3, freeze=freeze)
    moved, needed = [], []
    for step in range(5):
        needed.append(ours.prepare(step))
        if needed[-1]:
            backbone.grad = torch.ones(2)
        head.grad += 1.0
        before, head_before = backbone.detach().clone(), head.detach().clone()
        ours.step()
        moved.append(not torch.equal(before, backbone))
        assert not torch.equal(head_before, head)
    assert moved == [False] * held + [True] * (5 - held)
    assert needed == [False] * backward + [True] * (5 - backward)
    assert int(ours.adamw.state[backbone]["step"]) == count


def test_schedules() -> None:
    """The factor warms up linearly, then stays or falls along a cosine, and scales both groups'
    learning rates.
    """
    steps = 10
    got = [schedule_factor(Schedule(use="cosine", warm_up=4), step, steps) for step in range(steps)]
    expected = [0.25, 0.5, 0.75, 1.0] + [0.5 * (1 + np.cos(np.pi * k / 6)) for k in range(6)]
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert [schedule_factor(Schedule(warm_up=2), step, steps) for step in range(4)] == [
        0.5,
        1.0,
        1.0,
        1.0,
    ]
    ours = optimiser(
        [parameter(1)],
        [parameter(1)],
        schedule=Schedule(use="cosine", warm_up=4),
        steps=steps,
        lr_heads=0.2,
        lr_backbone=0.1,
        frozen=2,
    )
    rates = []
    for step in range(steps):
        ours.prepare(step)
        rates.append([group["lr"] for group in ours.adamw.param_groups])
    np.testing.assert_allclose(
        rates,
        [[0.2 * factor, 0.1 * factor * (step >= 2)] for step, factor in enumerate(expected)],
        rtol=1e-12,
    )


@pytest.mark.parametrize("policy", ["drift", "skip"])
def test_state_continues(policy: str) -> None:
    """State that went through a file continues bit for bit, also for parameters that no step has
    touched yet.
    """

    def train(ours: TwoGroups, parameters: list[nn.Parameter], steps: range) -> None:
        for step in steps:
            backbone = ours.prepare(step)
            active = parameters[1 + step % 2]
            gradient = torch.full((2, 2), 0.1 * (step + 1))
            active.grad = gradient if active.grad is None else active.grad + gradient
            if backbone:
                parameters[0].grad = gradient
            ours.step()

    whole, first, second = ([parameter(2, 2) for _ in range(4)] for _ in range(3))
    options = {"frozen": 3, "inactive_heads": policy}
    train(optimiser(whole[:1], whole[1:], **options), whole, range(8))
    stopped = optimiser(first[:1], first[1:], **options)
    train(stopped, first, range(2))
    with torch.no_grad():
        for ours, theirs in zip(second, first, strict=True):
            ours.copy_(theirs)
    resumed = optimiser(second[:1], second[1:], **options)
    resumed.load_state_dict(stopped.state_dict())
    train(resumed, second, range(2, 8))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(second, whole, strict=True))
    assert json.dumps(resumed.state_dict()["param_groups"])  # plain data


@pytest.mark.parametrize("model", ["resnet10t", "test_vit"])
def test_layer_factors_are_powers_of_the_decay(model: str) -> None:
    """The factor of a layer is decay^(layers - 1 - depth), and timm's own scale of that layer."""
    backbone = backbones.get("timm")(Start(folder=None, crop=64), model=model)
    factors = layer_factors(backbone, 0.5)
    layers = backbone.layers()
    assert [{factors[one] for one in layer} for layer in layers] == [
        {0.5 ** (len(layers) - 1 - depth)} for depth in range(len(layers))
    ]
    theirs = {
        parameter: group["lr_scale"]
        for group in param_groups_layer_decay(backbone.model, layer_decay=0.5)
        for parameter in group["params"]
    }
    assert factors == theirs


def test_every_layer_has_its_own_rate() -> None:
    """A layer's rate is its factor on the backbone's, held while frozen; a parameter of no layer
    has the backbone's.
    """
    first, last, projection, head = (parameter(1) for _ in range(4))
    ours = optimiser(
        [first, last, projection],
        [head],
        schedule=Schedule(warm_up=4),
        factors={first: 0.25, last: 1.0},
        lr_heads=0.2,
        lr_backbone=0.1,
        frozen=2,
    )
    rates = []
    for step in (1, 2, 5):
        ours.prepare(step)
        rates.append(
            {one: group["lr"] for group in ours.adamw.param_groups for one in group["params"]}
        )
    for got, heads, backbone in zip(rates, [0.1, 0.15, 0.2], [0.0, 0.075, 0.1], strict=True):
        expected = {head: heads, first: backbone / 4, last: backbone, projection: backbone}
        assert got == pytest.approx(expected)


def test_a_backbone_without_layers_is_one_sentence() -> None:
    """A layer decay over a backbone that lists no layers says what is missing."""
    with pytest.raises(ValueError, match=r"layer_decay is 0.5, but backbone Linear has no layers"):
        layer_factors(nn.Linear(2, 2), 0.5)


def test_the_anchor_pulls_to_the_first_weights() -> None:
    """An anchored backbone is AdamW after w - lr * anchor * (w - first), its heads plain AdamW."""
    backbone, head = (nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64)) for _ in "ab")
    theirs, first = nn.Parameter(backbone.detach().clone()), backbone.detach().clone()
    ours = optimiser([backbone], [head], lr_backbone=0.1, lr_heads=0.1, anchor=2.0, frozen=1)
    adamw = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.0)
    plain = nn.Parameter(head.detach().clone())
    adamw_of_heads = torch.optim.AdamW([plain], lr=0.1, weight_decay=0.0)
    for step in range(6):
        gradient = torch.tensor([0.5, -1.0 + step], dtype=torch.float64)
        if ours.prepare(step):
            backbone.grad = gradient.clone()
            theirs.grad = gradient.clone()
            with torch.no_grad():
                theirs -= 0.1 * 2.0 * (theirs - first)
            adamw.step()
        head.grad += gradient
        plain.grad = gradient.clone()
        ours.step()
        adamw_of_heads.step()
    torch.testing.assert_close(backbone, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(head, plain, rtol=1e-12, atol=1e-12)


def some_losses(task: Sequence[nn.Parameter], distill: Sequence[nn.Parameter]) -> BatchLosses:
    """Losses whose gradients are 2 for the task and 3 for the distillation."""
    of_task = tuple(2 * one.sum() for one in task)
    of_distill = tuple(3 * one.sum() for one in distill)
    total = sum((*of_task, *of_distill), start=torch.zeros(()))
    return BatchLosses(values={}, total=total, task=of_task, distill=of_distill)


def test_one_backward_of_the_total_is_the_default() -> None:
    """A rule that does not split losses finds the gradient of their sum."""
    shared, task_only, distill_only, inactive = (parameter(1) for _ in range(4))
    ours = optimiser([shared], [task_only, distill_only, inactive], inactive_heads="skip")
    ours.prepare(0)
    ours.backward(some_losses([shared, task_only], [shared, distill_only]))
    assert (shared.grad, task_only.grad, distill_only.grad) == (5, 2, 3)
    assert inactive.grad is None


def split_optimiser(
    backbone: list[nn.Parameter], heads: list[nn.Parameter], **options
) -> tuple[TwoGroups, SplitUpdate]:
    """DOT over two groups, and the rule itself."""
    ours = optimiser(backbone, heads, inactive_heads="skip", update=updates.get("dot"), **options)
    assert isinstance(ours.adamw, SplitUpdate)
    return ours, ours.adamw


def test_a_rule_that_splits_losses_gets_two_gradients() -> None:
    """The task's gradient is in `grad`, the distillation's beside it; what does not reach a
    parameter is no gradient, and nothing of a step is left for the next.
    """
    shared, task_only, distill_only, inactive = (parameter(1) for _ in range(4))
    ours, rule = split_optimiser([shared], [task_only, distill_only, inactive])
    ours.prepare(0)
    ours.backward(some_losses([shared, task_only], [shared, distill_only]))
    assert (shared.grad, task_only.grad, distill_only.grad, inactive.grad) == (2, 2, None, None)
    assert rule.distill_gradients == {shared: 3, distill_only: 3}
    ours.step()
    ours.prepare(1)
    assert shared.grad is None and rule.distill_gradients == {}
    ours.backward(some_losses([task_only], []))
    assert shared.grad is None and task_only.grad == 2 and rule.distill_gradients == {}


def test_a_held_projection_has_no_gradient_of_the_distillation_either() -> None:
    """In the frozen phase neither gradient of the backbone's group is used."""
    projection, head = parameter(1), parameter(1)
    ours, rule = split_optimiser([projection], [head], frozen=1, freeze="no_grad")
    ours.prepare(0)
    ours.backward(some_losses([projection, head], [projection, head]))
    ours.step()
    assert projection == 1 and head < 1 and not rule.state[projection]
    ours.prepare(1)
    ours.backward(some_losses([projection, head], [projection, head]))
    ours.step()
    assert projection < 1


def test_the_anchor_holds_what_only_the_distillation_reaches() -> None:
    """A parameter of the backbone without a gradient of the task is anchored too."""
    anchored, free = parameter(1), parameter(1)
    for one, anchor in ((anchored, 0.5), (free, 0.0)):
        ours, _ = split_optimiser([one], [parameter(1)], lr_backbone=0.1, anchor=anchor)
        for step in range(2):
            ours.prepare(step)
            ours.backward(some_losses([], [one]))
            ours.step()
    assert free.item() == pytest.approx(1 - 0.1 * 3 - 0.1 * (3 + 0.9 * 3))
    assert anchored.item() == pytest.approx(free.item() + 0.1 * 0.5 * 0.1 * 3)


def test_what_changes_nothing_is_no_part_of_an_identity() -> None:
    """A layer decay of 1 and an anchor of 0 are the defaults."""
    assert Optimiser(layer_decay=1.0, anchor=0.0) == Optimiser()

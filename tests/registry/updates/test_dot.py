"""DOT and DOT-Adam: against plain loops over parameters, and what they have in common with SGD."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from registry import updates
from registry.contracts import Optimiser

RATE, DECAY, STEPS = 0.05, 5e-4, 50
OPTIONS = Optimiser(lr_heads=RATE, weight_decay=DECAY)
ROLES = ("shared", "task_only", "distill_only")

Gradients = dict[str, Tensor | None]


def first_weights(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random weights of a parameter of each role."""
    generator = torch.Generator().manual_seed(0)
    return {role: torch.randn(4, 3, generator=generator).to(dtype) for role in ROLES}


def random_gradients(dtype: torch.dtype = torch.float32) -> Iterator[tuple[Gradients, Gradients]]:
    """Gradients of task and distillation of every step; None where one does not reach a role."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        task, distill = (
            {role: torch.randn(4, 3, generator=generator).to(dtype) for role in ROLES}
            for _ in range(2)
        )
        yield task | {"distill_only": None}, distill | {"task_only": None}


class Training:
    """An update rule over a parameter of each role."""

    def __init__(
        self, use: str, weights: dict[str, Tensor], options: Optimiser = OPTIONS, **own: Any
    ) -> None:
        self.parameters = {role: nn.Parameter(value.clone()) for role, value in weights.items()}
        group = {"params": list(self.parameters.values()), "lr": RATE}
        self.rule = updates.get(use)([group], options, **own)

    def step(self, task: Gradients, distill: Gradients) -> None:
        """One step, the gradients handed over as the engine does."""
        for role, parameter in self.parameters.items():
            parameter.grad = task[role]
        self.rule.distill_gradients = {
            parameter: gradient
            for role, parameter in self.parameters.items()
            if (gradient := distill[role]) is not None
        }
        self.rule.step()


def dot_by_hand(
    weight: Tensor,
    task: Tensor | None,
    distill: Tensor | None,
    state: dict[str, Tensor],
    momentum: float,
    delta: float,
) -> None:
    """One step of one parameter by the published algorithm, in place."""
    shared = task is not None and distill is not None
    task_momentum = momentum - delta if shared else momentum
    distill_momentum = momentum + delta if shared else momentum
    if task is not None:
        task = task.add(weight, alpha=DECAY)
    elif distill is not None:
        distill = distill.add(weight, alpha=DECAY)
    for name, gradient, factor in (
        ("task", task, task_momentum),
        ("distill", distill, distill_momentum),
    ):
        if gradient is None:
            continue
        if name in state:
            state[name] = state[name].mul(factor).add(gradient)
        else:
            state[name] = gradient.clone()
        weight.add_(state[name], alpha=-RATE)


@pytest.mark.parametrize("delta", [0.0, 0.075, 0.09])
def test_dot_equals_the_published_algorithm(delta: float) -> None:
    """Parameters of both, of the task alone and of the distillation alone follow it bit for bit."""
    weights, states = first_weights(), {role: {} for role in ROLES}
    ours = Training("dot", weights, momentum=0.9, delta=delta)
    for task, distill in random_gradients():
        ours.step(task, distill)
        for role, weight in weights.items():
            dot_by_hand(weight, task[role], distill[role], states[role], 0.9, delta)
            assert torch.equal(ours.parameters[role], weight), role


@pytest.mark.parametrize(
    ("use", "own", "theirs"),
    [
        ("dot", {"momentum": 0.9}, lambda one: torch.optim.SGD(one, momentum=0.9)),
        ("dot_adam", {}, torch.optim.AdamW),
    ],
)
def test_without_delta_it_is_the_rule_that_it_extends(use: str, own: Any, theirs: Any) -> None:
    """With delta 0 `dot` is torch's SGD with momentum, and `dot_adam` its AdamW."""
    weights = first_weights(torch.float64)
    ours = Training(use, weights, delta=0.0, **own)
    parameters = {role: nn.Parameter(value) for role, value in weights.items()}
    rule = theirs([{"params": parameters.values(), "lr": RATE, "weight_decay": DECAY}])
    for task, distill in random_gradients(torch.float64):
        ours.step(task, distill)
        for role, parameter in parameters.items():
            parts = [part for part in (task[role], distill[role]) if part is not None]
            parameter.grad = torch.stack(parts).sum(dim=0)
        rule.step()
    for role, parameter in parameters.items():
        torch.testing.assert_close(ours.parameters[role], parameter, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("delta", "expected"), [(0.075, (5.714286, 40.0)), (0.0, (10.0, 10.0))])
def test_constant_gradients_are_weighed_anew(delta: float, expected: tuple[float, float]) -> None:
    """In the long run a step is 1 / (1 - momentum -+ delta) times the gradient of each part."""
    for part, factor in enumerate(expected):
        weights = {"shared": torch.zeros(1, dtype=torch.float64)}
        ours = Training("dot", weights, Optimiser(weight_decay=0.0), momentum=0.9, delta=delta)
        gradients = [torch.zeros(1, dtype=torch.float64) for _ in range(2)]
        gradients[part] += 1
        for _ in range(1500):
            before = ours.parameters["shared"].item()
            ours.step({"shared": gradients[0]}, {"shared": gradients[1]})
        moved = (before - ours.parameters["shared"].item()) / RATE
        assert moved == pytest.approx(factor, rel=1e-6)


def test_dot_adam_against_a_loop() -> None:
    """Two unbiased first moments over the root of one unbiased second moment, after the decay."""
    weight = torch.tensor([1.0, -2.0], dtype=torch.float64)
    ours = Training("dot_adam", {"shared": weight}, delta=0.075)
    low, high, square = (torch.zeros_like(weight) for _ in range(3))
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 21):
        task, distill = torch.randn(2, 2, generator=generator, dtype=torch.float64)
        low = 0.825 * low + 0.175 * task
        high = 0.975 * high + 0.025 * distill
        square = 0.999 * square + 0.001 * (task + distill) ** 2
        means = low / (1 - 0.825**step) + high / (1 - 0.975**step)
        root = (square / (1 - 0.999**step)).sqrt() + 1e-8
        weight = weight * (1 - RATE * DECAY) - RATE * means / root
        ours.step({"shared": task}, {"shared": distill})
    torch.testing.assert_close(ours.parameters["shared"], weight, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("use", ["dot", "dot_adam"])
def test_a_parameter_without_gradients_is_left_alone(use: str) -> None:
    """Without a gradient of either part, neither a weight nor its moments move."""
    ours = Training(use, first_weights())
    steps = random_gradients()
    for _ in range(3):
        ours.step(*next(steps))
    before = {role: value.detach().clone() for role, value in ours.parameters.items()}
    moments = copy.deepcopy(ours.rule.state_dict())
    ours.step(dict.fromkeys(ROLES), dict.fromkeys(ROLES))
    assert all(torch.equal(value, before[role]) for role, value in ours.parameters.items())
    torch.testing.assert_close(ours.rule.state_dict(), moments, rtol=0, atol=0)


@pytest.mark.parametrize("use", ["dot", "dot_adam"])
def test_the_state_continues(use: str) -> None:
    """A new rule with the state of another one goes on to the same bits."""
    whole = Training(use, first_weights())
    for number, (task, distill) in enumerate(random_gradients()):
        if number == STEPS // 2:
            stopped = Training(use, {role: one.detach() for role, one in whole.parameters.items()})
            stopped.rule.load_state_dict(copy.deepcopy(whole.rule.state_dict()))
        whole.step(task, distill)
        if number >= STEPS // 2:
            stopped.step(task, distill)
    for role, parameter in whole.parameters.items():
        assert torch.equal(stopped.parameters[role], parameter)


@pytest.mark.parametrize(
    ("use", "own", "message"),
    [
        ("dot", {"delta": 0.1}, "got delta = 0.1 with momentum = 0.9, allowed is a delta that"),
        ("dot", {"momentum": 0.05}, "got delta = 0.075 with momentum = 0.05"),
        ("dot_adam", {"delta": 0.1}, "got delta = 0.1 with beta1 = 0.9"),
    ],
)
def test_momenta_outside_of_0_to_1_are_one_sentence(use: str, own: Any, message: str) -> None:
    """A delta that leads a momentum out of [0, 1) is refused."""
    with pytest.raises(ValueError, match=message) as caught:
        Training(use, first_weights(), **own)
    assert "\n" not in str(caught.value)

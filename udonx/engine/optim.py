"""The update of two groups of parameters (docs/method.md).

The backbone has a frozen phase; the heads of inactive domains have a policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from registry.contracts import Optimiser, Schedule
from registry.updates.adamw import adamw
from registry.updates.split import Gradients, SplitUpdate
from udonx.engine.model import Backbone
from udonx.engine.objective import BatchLosses

UpdateRule = Callable[[list[dict[str, Any]], Optimiser], torch.optim.Optimizer]
"""From groups of parameters and the options of [optimiser] to an update rule."""


def schedule_factor(schedule: Schedule, step: int, steps: int) -> float:
    """The factor on both learning rates at 0-based `step` of `steps`.

    >>> [round(schedule_factor(Schedule(use="cosine", warm_up=2), step, 6), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    warm_up = int(schedule.warm_up)
    if step < warm_up:
        return (step + 1) / warm_up
    if schedule.use == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def layer_factors(backbone: Backbone, decay: float) -> dict[nn.Parameter, float]:
    """The factor on the learning rate of each parameter of a backbone.

    It is 1 in the last layer and shrinks by `decay` with each layer towards the image.

    Raises:
        ValueError: the backbone does not say what its layers are.
    """
    layers_of = getattr(backbone, "layers", None)
    if layers_of is None:
        name = type(backbone).__name__
        raise ValueError(
            f"optimiser.layer_decay is {decay}, but backbone {name} has no layers() that lists its"
            " parameters by depth; add it, or omit layer_decay"
        )
    layers = layers_of()
    return {
        parameter: decay ** (len(layers) - 1 - depth)
        for depth, layer in enumerate(layers)
        for parameter in layer
    }


class TwoGroups:
    """An update rule over a backbone group and a heads group.

    Call `prepare(step)`, then `backward(losses)`, then `step()`.

    Under `drift` the heads' gradients are zeros, never None, so momentum keeps moving the heads of
    inactive domains and one step count holds for all. Under `skip` they are None, and torch leaves
    those parameters alone.

    With `layer_decay` the backbone's group becomes one for each factor. With `anchor` the backbone
    moves towards its first weights before each update: w - lr * anchor * (w - first).

    Args:
        backbone: what the frozen phase holds: the backbone's own parameters and, for the published
            baselines, the student's projection.
        heads: all other parameters.
        options: rates and policies; `frozen` is in steps.
        schedule: the factor on both rates; `warm_up` is in steps.
        steps: the stage's budget.
        factors: on the backbone's rate, by parameter (`layer_factors`); one that it lacks has 1.
        update: makes the rule from the groups; without it AdamW.
    """

    def __init__(
        self,
        backbone: list[nn.Parameter],
        heads: list[nn.Parameter],
        options: Optimiser,
        schedule: Schedule,
        steps: int,
        factors: Mapping[nn.Parameter, float] = MappingProxyType({}),
        update: UpdateRule = adamw,
    ) -> None:
        self.options, self.schedule, self.steps = options, schedule, steps
        self.backbone = [parameter for parameter in backbone if parameter.requires_grad]
        self.heads = [parameter for parameter in heads if parameter.requires_grad]
        groups = [{"params": self.heads, "lr": options.lr_heads}]
        layers: dict[float, list[nn.Parameter]] = {}
        for parameter in self.backbone:
            layers.setdefault(factors.get(parameter, 1.0), []).append(parameter)
        self._factors = list(layers)
        groups += [
            {"params": layer, "lr": options.lr_backbone * factor}
            for factor, layer in layers.items()
        ]
        # a stage that continues is built from the same first weights before its state is loaded
        self._first = {
            parameter: parameter.detach().clone()
            for parameter in (self.backbone if options.anchor else ())
        }
        # the rule, called after the default one: the trajectory tests know it by this name
        self.adamw = update(groups, options)
        self._split = self.adamw if isinstance(self.adamw, SplitUpdate) else None
        self._held = False

    def frozen_at(self, step: int) -> bool:
        """Whether 0-based `step` leaves the backbone in place."""
        return step < int(self.options.frozen) + (self.options.freeze == "official")

    def prepare(self, step: int) -> bool:
        """Set the learning rates of a step and clear gradients.

        Returns:
            Whether the backbone needs a backward pass.
        """
        factor = schedule_factor(self.schedule, step, self.steps)
        frozen = self.frozen_at(step)
        heads, *backbone = self.adamw.param_groups
        heads["lr"] = self.options.lr_heads * factor
        for group, layer in zip(backbone, self._factors, strict=True):
            group["lr"] = 0.0 if frozen else self.options.lr_backbone * factor * layer
        for parameter in self.backbone:
            parameter.grad = None
        if self._split is not None:
            self._split.distill_gradients = {}
        if self.options.inactive_heads == "skip":
            for parameter in self.heads:
                parameter.grad = None
        elif self.heads[0].grad is None:
            for parameter in self.heads:
                parameter.grad = torch.zeros_like(parameter)
        else:
            grads = [grad for parameter in self.heads if (grad := parameter.grad) is not None]
            torch._foreach_zero_(grads)
        self._held = frozen and self.options.freeze == "no_grad"
        return not self._held

    def backward(self, losses: BatchLosses) -> None:
        """Give every parameter its gradient of a batch's losses.

        A rule that splits losses gets that of the task and, apart, that of the distillation.
        """
        if self._split is None:
            losses.total.backward()
            return
        parameters = [*self.backbone, *self.heads]
        # both passes go through the student's head
        self._split.distill_gradients = _gradients(
            losses.distill, parameters, retain_graph=bool(losses.task)
        )
        for parameter, gradient in _gradients(losses.task, parameters).items():
            parameter.grad = gradient

    def step(self) -> None:
        """Update every parameter that has a gradient and is not held."""
        # a projection in the backbone's group gets a gradient all the same: its Adam count starts
        # when it wakes
        if self._held:
            for parameter in self.backbone:
                parameter.grad = None
                if self._split is not None:
                    self._split.distill_gradients.pop(parameter, None)
        self._pull_to_first_weights()
        self.adamw.step()

    @torch.no_grad()
    def _pull_to_first_weights(self) -> None:
        """The decay of `anchor`, at the learning rates of this step."""
        if self.options.anchor is None:
            return
        _, *backbone = self.adamw.param_groups
        for group in backbone:
            parameters = [one for one in group["params"] if self._has_gradient(one)]
            first = [self._first[one] for one in parameters]
            if parameters:
                torch._foreach_lerp_(parameters, first, group["lr"] * self.options.anchor)

    def _has_gradient(self, parameter: nn.Parameter) -> bool:
        """Whether the rule will move a parameter."""
        return parameter.grad is not None or (
            self._split is not None and parameter in self._split.distill_gradients
        )

    def state_dict(self) -> dict[str, Any]:
        """Moments and step counts, tensors and plain data."""
        return self.adamw.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.adamw.load_state_dict(state)


def _gradients(
    losses: Sequence[Tensor], parameters: Sequence[nn.Parameter], *, retain_graph: bool = False
) -> Gradients:
    """The gradients of the sum of losses; a parameter that none of them reaches has none."""
    trained = [loss for loss in losses if loss.requires_grad]
    if not trained:
        return {}
    total = sum(trained[1:], start=trained[0])
    found = torch.autograd.grad(total, parameters, retain_graph=retain_graph, allow_unused=True)
    return {
        parameter: gradient
        for parameter, gradient in zip(parameters, found, strict=True)
        if gradient is not None
    }

"""AdamW in two groups (docs/method.md).

The backbone has a frozen phase; the heads of inactive domains have a policy.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from registry.contracts import Optimiser, Schedule


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


class TwoGroupAdamW:
    """Decoupled AdamW over a backbone group and a heads group.

    Call `prepare(step)`, then backward, then `step()`.

    Under `drift` the heads' gradients are zeros, never None, so momentum keeps moving the heads of
    inactive domains and one step count holds for all. Under `skip` they are None, and torch leaves
    those parameters alone.

    Args:
        backbone: what the frozen phase holds: the backbone's own parameters and, for the published
            baselines, the student's projection.
        heads: all other parameters.
        options: rates and policies; `frozen` is in steps.
        schedule: the factor on both rates; `warm_up` is in steps.
        steps: the stage's budget.
    """

    def __init__(
        self,
        backbone: list[nn.Parameter],
        heads: list[nn.Parameter],
        options: Optimiser,
        schedule: Schedule,
        steps: int,
    ) -> None:
        self.options, self.schedule, self.steps = options, schedule, steps
        self.backbone = [parameter for parameter in backbone if parameter.requires_grad]
        self.heads = [parameter for parameter in heads if parameter.requires_grad]
        groups = [{"params": self.heads, "lr": options.lr_heads}]
        if self.backbone:
            groups.append({"params": self.backbone, "lr": options.lr_backbone})
        self.adamw = torch.optim.AdamW(
            groups,
            betas=(options.beta1, options.beta2),
            eps=options.eps,
            weight_decay=options.weight_decay,
            fused=True,
        )
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
        for group in backbone:
            group["lr"] = 0.0 if frozen else self.options.lr_backbone * factor
        for parameter in self.backbone:
            parameter.grad = None
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

    def step(self) -> None:
        """Update every parameter that has a gradient and is not held."""
        # a projection in the backbone's group gets a gradient all the same: its Adam count starts
        # when it wakes
        if self._held:
            for parameter in self.backbone:
                parameter.grad = None
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """Moments and step counts, tensors and plain data."""
        return self.adamw.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.adamw.load_state_dict(state)

"""The base of update rules that take the gradients of task and distillation apart."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

Gradients = dict[Tensor, Tensor]
"""The gradients of parameters; one that has none is not in it."""


class SplitUpdate(torch.optim.Optimizer):
    """An update rule that gets two gradients of each parameter.

    One is of the task: of the losses on one branch. The other is of the distillation: of the losses
    between student and teacher. A parameter may have both, one of them, or none. The engine makes
    two backward passes for it. With several processes, each pass would have to be gathered by
    itself.

    Attributes:
        splits_losses: what a check of an experiment reads without building the rule.
        distill_gradients: those of the distillation, set before each step. Those of the task are
            where every optimiser finds them, in `parameter.grad`.
    """

    splits_losses: ClassVar[bool] = True

    def __init__(self, groups: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
        super().__init__(groups, defaults)
        self.distill_gradients: Gradients = {}

    def move(self, group: dict[str, Any], task: Gradients, distill: Gradients) -> None:
        """Move the parameters of a group, in place; without gradients nothing is to be done.

        Args:
            group: "params" and the options of the group, "lr" among them.
            task: gradients of the task in this group.
            distill: gradients of the distillation in this group.
        """
        raise NotImplementedError

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure computes two gradients
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            task = {one: one.grad for one in group["params"] if one.grad is not None}
            distill = {
                one: self.distill_gradients[one]
                for one in group["params"]
                if one in self.distill_gradients
            }
            self.move(group, task, distill)

    def moments(self, name: str, parameters: Gradients) -> list[Tensor]:
        """A moment of each parameter from the state of the rule, zeros where it is new."""
        for one in parameters:
            if name not in self.state[one]:
                self.state[one][name] = torch.zeros_like(one)
        return [self.state[one][name] for one in parameters]

"""The distillation-oriented trainer: task and distillation have a momentum each."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from registry import updates
from registry.contracts import Optimiser
from registry.updates.split import Gradients, SplitUpdate

_Delta = Annotated[
    float,
    Field(
        ge=0,
        lt=0.5,
        description="What the task's momentum lacks of the mean of both, and distillation's adds.",
    ),
]


def _check(use: str, name: str, mean: float, delta: float) -> None:
    """Refuse momenta outside [0, 1).

    Raises:
        ValueError: one is.
    """
    if not (delta <= mean and mean + delta < 1):
        raise ValueError(
            f"update {use}: got delta = {delta} with {name} = {mean}, allowed is a delta that"
            f" keeps {name} - delta and {name} + delta from 0 up to, but without, 1"
        )


@updates.register("dot")
class Dot(SplitUpdate):
    """SGD with two momenta: a smaller one of the task, a larger one of the distillation.

    A parameter that only one of the two reaches in a step has the mean momentum there, as in SGD.
    `weight_decay` of [optimiser] is added to the gradient (L2), once. `beta1`, `beta2` and `eps`
    are not read. With `delta` 0 it is `sgd`, where each loss reaches a parameter in all steps or in
    none.

    A gradient that stays the same moves a parameter by 1 / (1 - momentum) of its size in the long
    run: at the defaults by 5.7 of the task's and 40 of the distillation's, where SGD has 10 of
    both. So it also weighs the losses anew.

    Args:
        groups: parameters with their rates.
        options: of [optimiser].
        momentum: see its description.
        delta: see its description.

    Raises:
        ValueError: a momentum would be below 0, or 1 and more.

    Source: Zhao et al., DOT: A Distillation-Oriented Trainer, ICCV 2023, and its released code;
    delta is 0.075 on CIFAR-100, 0.09 on ImageNet. Unlike that code, it decays a parameter of the
    distillation alone in its very first step too, as SGD does.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        options: Optimiser,
        *,
        momentum: Annotated[
            float, Field(ge=0, lt=1, description="The mean of both momenta.")
        ] = 0.9,
        delta: _Delta = 0.075,
    ) -> None:
        _check("dot", "momentum", momentum, delta)
        defaults = {"lr": options.lr_heads, "weight_decay": options.weight_decay}
        super().__init__(groups, defaults)
        self.momentum, self.delta = momentum, delta

    def move(self, group: dict[str, Any], task: Gradients, distill: Gradients) -> None:
        """Move the parameters of a group."""
        alone = {one: gradient for one, gradient in distill.items() if one not in task}
        low = [self.momentum - self.delta * (one in distill) for one in task]
        high = [self.momentum + self.delta * (one in task) for one in distill]
        self._move("task", _with_decay(task, group), low, group["lr"])
        self._move("distill", {**distill, **_with_decay(alone, group)}, high, group["lr"])

    def _move(self, name: str, gradients: Gradients, momenta: list[float], rate: float) -> None:
        """Move parameters by one of their two velocities."""
        if not gradients:
            return
        velocities = self.moments(name, gradients)
        torch._foreach_mul_(velocities, momenta)
        torch._foreach_add_(velocities, list(gradients.values()))
        torch._foreach_add_(list(gradients), velocities, alpha=-rate)


def _with_decay(gradients: Gradients, group: dict[str, Any]) -> Gradients:
    """Gradients with that of the weight decay added."""
    if not gradients or not group["weight_decay"]:
        return gradients
    decayed = torch._foreach_add(
        list(gradients.values()), list(gradients), alpha=group["weight_decay"]
    )
    return dict(zip(gradients, decayed, strict=True))


@updates.register("dot_adam")
class DotAdam(SplitUpdate):
    """AdamW with two first moments: a shorter one of the task, a longer one of the distillation.

    Their decays are `beta1` - delta and `beta1` + delta. A parameter that only one of the two
    reaches in a step has `beta1` there, as in AdamW. The second moment is one, of the sum of both
    gradients. `beta1`, `beta2`, `eps` and `weight_decay` are of [optimiser]. With `delta` 0 it is
    `adamw`, where each loss reaches a parameter in all steps or in none.

    First moments are means here, so that delta does not weigh the losses anew, as it does in `dot`.

    Args:
        groups: parameters with their rates.
        options: of [optimiser].
        delta: see its description.

    Raises:
        ValueError: a decay would be below 0, or 1 and more.

    Source: our own; the paper of `dot` has no such rule.
    """

    def __init__(
        self, groups: list[dict[str, Any]], options: Optimiser, *, delta: _Delta = 0.075
    ) -> None:
        _check("dot_adam", "beta1", options.beta1, delta)
        defaults = {"lr": options.lr_heads, "weight_decay": options.weight_decay}
        super().__init__(groups, defaults)
        self.options, self.delta = options, delta

    def move(self, group: dict[str, Any], task: Gradients, distill: Gradients) -> None:
        """Move the parameters of a group."""
        if not (total := _total(task, distill)):
            return
        roots, beta1 = self._roots(total), self.options.beta1
        torch._foreach_mul_(list(total), 1 - group["lr"] * group["weight_decay"])
        low = [beta1 - self.delta * (one in distill) for one in task]
        high = [beta1 + self.delta * (one in task) for one in distill]
        self._move("task", task, low, roots, group["lr"])
        self._move("distill", distill, high, roots, group["lr"])

    def _roots(self, gradients: Gradients) -> Gradients:
        """What the moments are divided by: the root of the second moment, plus `eps`."""
        values = list(gradients.values())
        squares = dict(zip(gradients, torch._foreach_mul(values, values), strict=True))
        means, weights = self._average("square", squares, [self.options.beta2] * len(squares))
        roots = torch._foreach_sqrt(means)
        torch._foreach_div_(roots, [weight**0.5 for weight in weights])
        torch._foreach_add_(roots, self.options.eps)
        return dict(zip(gradients, roots, strict=True))

    def _move(
        self, name: str, gradients: Gradients, betas: list[float], roots: Gradients, rate: float
    ) -> None:
        """Move parameters by one of their two first moments."""
        if not gradients:
            return
        means, weights = self._average(name, gradients, betas)
        divisors = [roots[one] for one in gradients]
        factors = [-rate / weight for weight in weights]
        torch._foreach_addcdiv_(list(gradients), means, divisors, factors)

    def _average(
        self, name: str, values: Gradients, betas: list[float]
    ) -> tuple[list[Tensor], list[float]]:
        """Take values into their moving averages, which start at zero.

        Returns:
            The averages; and how much weight of values is in each, 1 in the long run. Divided by
            it, an average is unbiased.
        """
        means, weights = self.moments(name, values), []
        for one, beta in zip(values, betas, strict=True):
            state = self.state[one]
            state[f"{name}_weight"] = beta * state.get(f"{name}_weight", 0.0) + (1 - beta)
            weights.append(state[f"{name}_weight"])
        torch._foreach_mul_(means, betas)
        new = torch._foreach_mul(list(values.values()), [1 - beta for beta in betas])
        torch._foreach_add_(means, new)
        return means, weights


def _total(task: Gradients, distill: Gradients) -> Gradients:
    """The sum of both gradients, of parameters that have one of them or both."""
    shared = [one for one in task if one in distill]
    if not shared:
        return {**task, **distill}
    sums = torch._foreach_add([task[one] for one in shared], [distill[one] for one in shared])
    return {**task, **distill, **dict(zip(shared, sums, strict=True))}

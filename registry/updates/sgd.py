"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field

from registry import updates
from registry.contracts import Optimiser


@updates.register("sgd")
def sgd(
    groups: list[dict[str, Any]],
    options: Optimiser,
    *,
    momentum: Annotated[
        float, Field(ge=0, lt=1, description="Decay of the running sum of gradients.")
    ] = 0.9,
    nesterov: Annotated[bool, Field(description="Looks ahead by the momentum.")] = False,
) -> torch.optim.Optimizer:
    """SGD with momentum; `weight_decay` of [optimiser] is added to the gradient (L2).

    `beta1`, `beta2` and `eps` are not read.

    Args:
        groups: parameters with their rates.
        options: of [optimiser].
        momentum: see its description.
        nesterov: see its description.

    Raises:
        ValueError: Nesterov's momentum is asked for without momentum.
    """
    if nesterov and not momentum:
        raise ValueError("update sgd: got nesterov = true with momentum = 0; give it a momentum")
    # not fused: that fails where only some parameters have had a gradient before
    return torch.optim.SGD(
        groups,
        lr=options.lr_heads,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=options.weight_decay,
    )

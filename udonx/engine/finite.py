"""Losses and weights that are not finite end a training before anything is kept of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from udonx.engine.errors import TrainingError


def weight_norm(model: nn.Module) -> Tensor:
    """The sum of the norms of all parameters, float32 [1]: finite where all weights are."""
    norms = torch._foreach_norm([parameter.detach() for parameter in model.parameters()])
    return torch.stack(norms).sum().reshape(1)


def refuse_not_finite(values: Mapping[str, float], title: str, first: int, last: int) -> None:
    """Check figures that are on the host.

    Args:
        values: the figures, by the names that the sentence calls them.
        title: what the stage is called.
        first: steps that were done when everything was finite.
        last: steps that are done.

    Raises:
        TrainingError: one of them is not finite.
    """
    if bad := [name for name, value in values.items() if not math.isfinite(value)]:
        raise TrainingError(
            f"{title}: {', '.join(bad)} is not finite between steps {first} and {last}; the last"
            " checkpoint is kept; try lower learning rates (optimiser.lr_heads,"
            " optimiser.lr_backbone) or precision = fp32, or look for images whose features are all"
            " zero"
        )

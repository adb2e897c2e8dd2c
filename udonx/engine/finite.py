"""Losses and weights that are not finite end a training before anything is kept of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from udonx.engine.errors import TrainingError


def weight_norm(module: nn.Module, *, buffers: bool = False) -> Tensor:
    """The sum of the norms of all parameters, float32 [1]: finite where all of them are.

    Args:
        module: a model, or the losses of a stage, which may have none.
        buffers: whether its buffers of floats count too.
    """
    tensors = [parameter.detach() for parameter in module.parameters()]
    if buffers:
        tensors += [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    if not tensors:
        return torch.zeros(1)
    return torch.stack(torch._foreach_norm(tensors)).sum().reshape(1)


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
        place = f"between steps {first} and {last}" if first < last else f"after step {last}"
        raise TrainingError(
            f"{title}: {', '.join(bad)} is not finite {place}; the last"
            " checkpoint is kept; try lower learning rates (optimiser.lr_heads,"
            " optimiser.lr_backbone) or precision = fp32, or look for images whose features are all"
            " zero"
        )

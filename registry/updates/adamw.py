"""AdamW, the rule of the released UDON code."""

from __future__ import annotations

from typing import Any

import torch

from registry import updates
from registry.contracts import Optimiser


@updates.register("adamw")
def adamw(groups: list[dict[str, Any]], options: Optimiser) -> torch.optim.Optimizer:
    """AdamW with `beta1`, `beta2`, `eps` and `weight_decay` of [optimiser].

    Args:
        groups: parameters with their rates.
        options: of [optimiser].
    """
    return torch.optim.AdamW(
        groups,
        betas=(options.beta1, options.beta2),
        eps=options.eps,
        weight_decay=options.weight_decay,
        fused=True,
    )

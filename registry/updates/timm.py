"""Any optimiser of timm: https://huggingface.co/docs/timm/reference/optimizers."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from timm.optim import create_optimizer_v2, list_optimizers

from registry import updates
from registry.contracts import Optimiser
from registry.registry import nearest

_COMPILES = "whose compiled steps are not known to continue bit for bit"
_REFUSED = {
    "adahessian": "which needs a second derivative of the losses",
    "kron": _COMPILES,
    "kronc": _COMPILES,
    "kronw": _COMPILES,
}


@updates.register("timm")
def timm_rule(
    groups: list[dict[str, Any]],
    options: Optimiser,
    *,
    opt: Annotated[str, Field(description="timm's name of the rule: `lion`, `lamb`, `adopt`.")],
    kwargs: Annotated[
        dict[str, Any] | None,
        Field(description="Passed to the rule, such as `{ betas = [0.9, 0.99] }`."),
    ] = None,
) -> torch.optim.Optimizer:
    """A rule of timm by its name, with `weight_decay` of [optimiser].

    `beta1`, `beta2` and `eps` are not read: `kwargs` gives what the rule calls so.

    Args:
        groups: parameters with their rates.
        options: of [optimiser].
        opt: see its description.
        kwargs: see its description.

    Raises:
        ValueError: timm has no such rule, it does not take the kwargs, or it cannot be used here.
    """
    names = [str(name) for name in list_optimizers()]
    if opt not in names:
        close = nearest(opt, names)
        hint = f"did you mean {' or '.join(close)}" if close else "see timm.optim.list_optimizers()"
        raise ValueError(f"update timm: got opt = {opt!r}, which timm does not have; {hint}")
    if opt in _REFUSED:
        raise ValueError(f"update timm: got opt = {opt!r}, {_REFUSED[opt]}; choose another rule")
    try:
        return create_optimizer_v2(
            groups,
            opt=opt,
            lr=options.lr_heads,
            weight_decay=options.weight_decay,
            **(kwargs or {}),
        )
    except (TypeError, AssertionError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"update timm: {opt} cannot be built with {kwargs}: {why:.300}") from error

"""A projection of several layers, as the released UDON code builds it for several widths."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from registry import heads
from registry.contracts import Positive
from registry.heads.initialisers import l2_normalise, lecun_normal_

Hidden = Annotated[
    tuple[Positive, ...],
    Field(
        description="Widths of the layers before the last.",
        json_schema_extra={"unit": "dimensions"},
    ),
]


@heads.register("mlp")
class MlpHead(nn.Module):
    """Linear layers with LayerNorm and tanh-GELU between them, then L2 normalisation.

    Features float [B, in_dim] become an embedding float [B, dim] with unit rows (no epsilon).
    Weights start LeCun normal (truncated), biases at zero; LayerNorm has epsilon 1e-6.

    Args:
        in_dim: width of the features.
        dim: width of the embedding.
        hidden: widths of the layers before the last.

    Source: UDON, NeurIPS 2024; projections of the released model with more than one width.

    Example:
        >>> import torch
        >>> MlpHead(8, 4, hidden=(16, 12))(torch.arange(8.0)[None]).shape
        torch.Size([1, 4])
    """

    def __init__(self, in_dim: int, dim: int, *, hidden: Hidden = (512,)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_dim
        for hidden_width in hidden:
            layers += [
                nn.Linear(width, hidden_width),
                nn.LayerNorm(hidden_width, eps=1e-6),
                nn.GELU(approximate="tanh"),
            ]
            width = hidden_width
        self.projection = nn.Sequential(*layers, nn.Linear(width, dim))
        for layer in self.projection:
            if isinstance(layer, nn.Linear):
                lecun_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def project(self, features_BF: Tensor) -> Tensor:
        """The embedding float [B, D] before normalisation, of features float [B, F]."""
        return self.projection(features_BF)

    def forward(self, features_BF: Tensor) -> Tensor:
        """The embedding float [B, D], with unit rows, of features float [B, F]."""
        return l2_normalise(self.project(features_BF))

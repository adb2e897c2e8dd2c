"""One linear projection: what the released UDON code uses for student and teachers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from registry import heads
from registry.heads.initialisers import l2_normalise, lecun_normal_


@heads.register("linear")
class LinearHead(nn.Module):
    """A linear projection with bias, then L2 normalisation without an epsilon.

    Features float [B, in_dim] become an embedding float [B, dim] with unit rows. Weights start
    LeCun normal (truncated), the bias at zero.

    Args:
        in_dim: width of the features.
        dim: width of the embedding.
        dropout: in training, this share of the features is zeroed, and the others scaled up.

    Source: UDON, NeurIPS 2024; teacher and student projections of the released model
    (equation 2 of docs/method.md).

    Example:
        >>> import torch
        >>> embedding_BD = LinearHead(8, 4)(torch.ones(2, 8))
        >>> embedding_BD.shape, torch.allclose(embedding_BD.norm(dim=1), torch.ones(2))
        (torch.Size([2, 4]), True)
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        dropout: Annotated[
            Annotated[float, Field(gt=0, lt=1)] | None,
            Field(
                description=(
                    "Share of the features that a training step zeroes, anew for each image;"
                    " without it none."
                )
            ),
        ] = None,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.projection = nn.Linear(in_dim, dim)
        lecun_normal_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def project(self, features_BF: Tensor) -> Tensor:
        """The embedding float [B, D] before normalisation, of features float [B, F]."""
        if self.dropout is not None:
            features_BF = nn.functional.dropout(features_BF, self.dropout, self.training)
        return self.projection(features_BF)

    def forward(self, features_BF: Tensor) -> Tensor:
        """The embedding float [B, D], with unit rows, of features float [B, F]."""
        return l2_normalise(self.project(features_BF))

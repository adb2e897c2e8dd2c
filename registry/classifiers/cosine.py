"""One direction per class: what training puts on top of an embedding unless a row says else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from registry import classifiers
from registry.heads.initialisers import l2_normalise, lecun_uniform_


@classifiers.register("cosine")
class CosineClassifier(nn.Module):
    """Cosines between an embedding and one learned direction per class.

    It has no bias, no scale and no margin; a loss adds those. An embedding float [B, dim] with unit
    rows becomes cosines float [B, classes]. The rows of the kernel are divided by their norms
    without an epsilon, and the norms are differentiated: the gradient of a row is orthogonal to it.

    Attributes:
        kernel_CD: parameter [classes, dim]; starts LeCun uniform.

    Source: UDON, NeurIPS 2024; output projections of the released model (equation 3 of
    docs/method.md).

    Example:
        >>> classifier = CosineClassifier(4, 3)
        >>> cosine_BC = classifier(torch.eye(4))
        >>> cosine_BC.shape, bool((cosine_BC.abs() <= 1).all())
        (torch.Size([4, 3]), True)
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.kernel_CD = nn.Parameter(lecun_uniform_(torch.empty(classes, dim)))

    def forward(self, embedding_BD: Tensor) -> Tensor:
        """Cosines float [B, C] of an embedding float [B, D] with unit rows."""
        return embedding_BD @ l2_normalise(self.kernel_CD).T

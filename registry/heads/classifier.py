"""The cosine classifier that training puts on top of an embedding. Part of every model, hence not a
registered choice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from registry.heads.initialisers import l2_normalise, lecun_uniform_


class CosineClassifier(nn.Module):
    """Cosines between an embedding and one learned direction per class; no bias, no scale, no
    margin (a loss adds those).

    Maps an embedding float [B, dim] with unit rows to cosines float [B, classes]. The parameter
    kernel_CD [classes, dim] starts LeCun uniform; its rows are divided by their norms, without an
    epsilon, and the norms are differentiated, so that the gradient of each row is orthogonal to the
    row. Source: UDON, NeurIPS 2024; output projections of the released model.

    >>> classifier = CosineClassifier(4, 3)
    >>> cosine_BC = classifier(torch.eye(4))
    >>> cosine_BC.shape, bool((cosine_BC.abs() <= 1).all())
    (torch.Size([4, 3]), True)
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.kernel_CD = nn.Parameter(lecun_uniform_(torch.empty(classes, dim)))

    def forward(self, embedding_BD: Tensor) -> Tensor:
        return embedding_BD @ l2_normalise(self.kernel_CD).T

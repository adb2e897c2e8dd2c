"""Several centres per class: a class is as near as the nearest of them."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from registry import classifiers
from registry.heads.initialisers import l2_normalise, lecun_uniform_


@classifiers.register("sub_centre")
class SubCentreClassifier(nn.Module):
    """The largest of the cosines between an embedding and the `k` directions of each class.

    An embedding float [B, dim] with unit rows becomes cosines float [B, classes]. Only the nearest
    direction of a class gets a gradient. So noisy images and further kinds of a class may gather
    around directions of their own. With k = 1 it is the cosine classifier.

    Args:
        dim: width of the embedding.
        classes: how many classes there are.
        k: directions per class.

    Attributes:
        kernel_CKD: parameter [classes, k, dim]; starts LeCun uniform.

    Source: Deng et al., Sub-center ArcFace: Boosting Face Recognition by Large-Scale Noisy Web
    Faces, ECCV 2020.

    Example:
        >>> classifier = SubCentreClassifier(4, 3, k=2)
        >>> classifier(torch.eye(4)).shape, classifier.kernel_CKD.shape
        (torch.Size([4, 3]), torch.Size([3, 2, 4]))
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        k: Annotated[int, Field(gt=0, description="Directions per class.")] = 3,
    ) -> None:
        super().__init__()
        self.kernel_CKD = nn.Parameter(lecun_uniform_(torch.empty(classes, k, dim)))

    def forward(self, embedding_BD: Tensor) -> Tensor:
        """Cosines float [B, C] of an embedding float [B, D] with unit rows."""
        cosine_BCK = (embedding_BD @ l2_normalise(self.kernel_CKD).flatten(0, 1).T).unflatten(
            1, self.kernel_CKD.shape[:2]
        )
        return cosine_BCK.amax(-1)

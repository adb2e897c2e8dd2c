"""Relational knowledge distillation: distances of pairs and angles of triples."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import relation_maths


@losses.register("rkd")
class RKD:
    """Smooth L1 difference of distances, over their mean, and of the angles of all triples.

    It is called (student, teacher, batch) and returns a float32 scalar. Embeddings are compared,
    not classes: the two dimensions may differ, and no classifier is trained by it. The angles take
    memory of B ** 3 numbers. The teacher gets no gradient.

    The maths is `registry.losses.relation_maths.rkd`.

    Args:
        distance_weight: of the distances.
        angle_weight: of the angles; 0 leaves them out.

    Source: Park et al., Relational Knowledge Distillation, CVPR 2019, whose weights are 25 and 50.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "cosine_BC": None, "class_range": range(3)}
        >>> branch = Branch(embedding_BD=torch.eye(3), **rest)
        >>> bool(RKD()(branch, branch, None) < 1e-6)
        True
    """

    def __init__(
        self,
        *,
        distance_weight: Annotated[
            float, Field(ge=0, description="Weight of the distances.")
        ] = 25.0,
        angle_weight: Annotated[
            float, Field(ge=0, description="Weight of the angles; 0 leaves them out.")
        ] = 50.0,
    ) -> None:
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of a student's embedding [B, D] and a teacher's embedding [B, E]."""
        return relation_maths.rkd(
            student.embedding_BD,
            teacher.embedding_BD,
            distance_weight=self.distance_weight,
            angle_weight=self.angle_weight,
        )

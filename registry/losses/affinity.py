"""Affinity mimicking: whom an image resembles most, as a distribution over the batch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import relation_maths


@losses.register("affinity")
class Affinity:
    """Cross-entropy between the softmaxes of each image's similarities to the others.

    It is called (student, teacher, batch) and returns a float32 scalar. Embeddings are compared,
    not classes: the two dimensions may differ, and no classifier is trained by it. The teacher gets
    no gradient.

    The maths is `registry.losses.relation_maths.affinity`.

    Args:
        scale: factor on the cosines.

    Source: Wu et al., TinyCLIP, ICCV 2023, whose scale is 50, between images and texts; here
    between the images of a batch, without each image's similarity to itself.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "cosine_BC": None, "class_range": range(3)}
        >>> branch = Branch(embedding_BD=torch.eye(3), **rest)
        >>> Affinity()(branch, branch, None)  # the teacher's entropy, log(2)
        tensor(0.6931)
    """

    def __init__(
        self,
        *,
        scale: Annotated[
            float, Field(gt=0, description="Factor on the cosines, an inverse temperature.")
        ] = 50.0,
    ) -> None:
        self.scale = scale

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of a student's embedding [B, D] and a teacher's embedding [B, E]."""
        return relation_maths.affinity(student.embedding_BD, teacher.embedding_BD, scale=self.scale)

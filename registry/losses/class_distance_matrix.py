"""Distances between the class means of a batch follow the teacher's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import relation_maths


@losses.register("class_distance_matrix")
class ClassDistanceMatrix:
    """Difference of the distances between the class means of a batch.

    It is called (student, teacher, batch) and returns a float32 scalar. Embeddings are compared,
    not classes: the two dimensions may differ, and no classifier is trained by it. The teacher gets
    no gradient.

    The maths is `registry.losses.relation_maths.class_distance_matrix`.

    Args:
        distance: between two class means.
        power: of the difference.

    Source: distance-matrix distillation of class-incremental learning, as an option of ours:
    normalisation and weight are not those of a paper.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "cosine_BC": None, "class_range": range(3)}
        >>> branch = Branch(embedding_BD=torch.eye(3), **rest)
        >>> batch = Batch(images=None, labels=torch.tensor([0, 1, 2]), domain="cars")
        >>> ClassDistanceMatrix()(branch, branch, batch)
        tensor(0.)
    """

    reads_labels = True

    def __init__(
        self,
        *,
        distance: Annotated[
            Literal["euclidean", "cosine"],
            Field(
                description="Between two class means: their distance, or one minus their cosine."
            ),
        ] = "euclidean",
        power: Annotated[
            float, Field(ge=1, description="Exponent of the absolute difference.")
        ] = 1.0,
    ) -> None:
        self.distance: Literal["euclidean", "cosine"] = distance
        self.power = power

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of embeddings [B, D] and [B, E] and the batch's labels int64 [B]."""
        return relation_maths.class_distance_matrix(
            student.embedding_BD,
            teacher.embedding_BD,
            batch.labels,
            distance=self.distance,
            power=self.power,
        )

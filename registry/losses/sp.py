"""Similarity-preserving distillation: the relational loss on Gram rows of unit length."""

from __future__ import annotations

from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import relation_maths


@losses.register("sp")
class SimilarityPreserving:
    """Squared difference of the Gram matrices, each row of unit length.

    It is called (student, teacher, batch) and returns a float32 scalar. Embeddings are compared,
    not classes: the two dimensions may differ, and no classifier is trained by it. The teacher gets
    no gradient.

    The maths is `registry.losses.relation_maths.similarity_preserving`.

    Source: Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019. Their weight is
    3000, on feature maps.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "cosine_BC": None, "class_range": range(3)}
        >>> branch = Branch(embedding_BD=torch.eye(3), **rest)
        >>> SimilarityPreserving()(branch, branch, None)
        tensor(0.)
    """

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of a student's embedding [B, D] and a teacher's embedding [B, E]."""
        return relation_maths.similarity_preserving(student.embedding_BD, teacher.embedding_BD)

"""Probabilistic knowledge transfer: similarities as probabilities over the batch."""

from __future__ import annotations

from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import relation_maths


@losses.register("pkt")
class ProbabilisticTransfer:
    """KL between each image's similarities to all of the batch, taken as probabilities.

    It is called (student, teacher, batch) and returns a float32 scalar. Embeddings are compared,
    not classes: the two dimensions may differ, and no classifier is trained by it. The teacher gets
    no gradient.

    The maths is `registry.losses.relation_maths.pkt`.

    Source: Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer,
    ECCV 2018, with the cosine kernel. It is small: mdistiller gives it a weight of 30000.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "cosine_BC": None, "class_range": range(3)}
        >>> branch = Branch(embedding_BD=torch.eye(3), **rest)
        >>> ProbabilisticTransfer()(branch, branch, None)
        tensor(0.)
    """

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of a student's embedding [B, D] and a teacher's embedding [B, E]."""
        return relation_maths.pkt(student.embedding_BD, teacher.embedding_BD)

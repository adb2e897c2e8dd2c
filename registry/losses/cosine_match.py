"""Feature distillation: the student's answer points where the teacher's embedding does."""

from __future__ import annotations

from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import relation_maths


@losses.register("cosine_match")
class CosineMatch:
    """One minus the cosine between what the student answers and the teacher's embedding.

    It is called (student, teacher, batch) and returns a float32 scalar. Both embeddings have one
    length: a named teacher of another needs an `adapter`. The teacher gets no gradient.

    The maths is `registry.losses.relation_maths.cosine_match`.

    Source: the summary loss of AM-RADIO, CVPR 2024, and half of that of UNIC, ECCV 2024.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "cosine_BC": None, "class_range": range(0)}
        >>> branch = Branch(embedding_BD=torch.eye(3), **rest)
        >>> CosineMatch()(branch, branch, None)
        tensor(0.)
    """

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of two embeddings [B, D].

        Raises:
            ValueError: they have different lengths.
        """
        return relation_maths.cosine_match(student.embedding_BD, teacher.embedding_BD)

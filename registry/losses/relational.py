"""Relational distillation: the student's similarities within a batch follow the teacher's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import functional


@losses.register("relational")
class Relational:
    """Squared difference between the student's and the teacher's pairwise similarities.

    It is called (student, teacher, batch) and returns a float32 scalar. The pairs are those of the
    batch. Embeddings are compared, not classes: the two dimensions may differ, and no classifier is
    trained by it. The teacher gets no gradient.

    The maths is `registry.losses.functional.relational`.

    Args:
        reduction: the mean over all pairs, or that times batch / 4.

    Source: UDON, NeurIPS 2024; relational distillation of the released train step, on one device.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "cosine_BC": None, "class_range": range(0)}
        >>> student = Branch(embedding_BD=torch.eye(2), **rest)
        >>> teacher = Branch(embedding_BD=torch.ones(2, 1), **rest)
        >>> Relational(reduction="mean")(student, teacher, None)
        tensor(0.5000)
    """

    def __init__(
        self,
        *,
        reduction: Annotated[
            Literal["official", "mean"],
            Field(
                description=(
                    "`mean` is the mean square over all pairs; `official` is that times batch / 4,"
                    " as in the released code."
                )
            ),
        ] = "official",
    ) -> None:
        self.reduction = reduction

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of a student's embedding [B, D] and a teacher's embedding [B, E]."""
        return functional.relational(
            student.embedding_BD, teacher.embedding_BD, reduction=self.reduction
        )

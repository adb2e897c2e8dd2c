"""Logit distillation of standardised logits: who is nearer counts, not by how much in all."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import functional, logit_maths


@losses.register("kl_standardised")
class StandardisedKL:
    """KL between the class distributions of logits with mean 0 and deviation 1.

    It is called (student, teacher, batch) and returns a float32 scalar. Both sides are cut to the
    columns of the batch's domain. The student need not reach the teacher's range of cosines. The
    teacher gets no gradient.

    The maths is `registry.losses.functional.kl_logit` on `registry.losses.logit_maths.standardised`
    cosines.

    Args:
        temperature: what the standardised cosines are divided by.

    Source: Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024, whose
    temperature is 2, with a weight of 9 on the loss and a factor of the squared temperature, which
    is not taken here: a weight of 36 is theirs.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "embedding_BD": None}
        >>> branch = Branch(cosine_BC=torch.eye(3), class_range=range(3), **rest)
        >>> half = Branch(cosine_BC=torch.eye(3) / 2, class_range=range(3), **rest)
        >>> bool(StandardisedKL()(half, branch, None) < 1e-6)
        True
    """

    def __init__(
        self,
        *,
        temperature: Annotated[
            float, Field(gt=0, description="What the standardised cosines of both are divided by.")
        ] = 2.0,
    ) -> None:
        self.temperature = temperature

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of two branches' cosines [B, C], each cut to its `class_range`."""
        student_BC, teacher_BC = (
            logit_maths.standardised(branch.domain_cosine_BC) for branch in (student, teacher)
        )
        return functional.kl_logit(
            student_BC,
            teacher_BC.detach(),
            student_temperature=self.temperature,
            teacher_temperature=self.temperature,
        )

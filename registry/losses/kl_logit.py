"""Logit distillation: the student's class distribution is pulled to the teacher's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import functional


@losses.register("kl_logit")
class LogitKL:
    """KL divergence from the student's to the teacher's class distribution.

    It is called (student, teacher, batch) and returns a float32 scalar. Both softmaxes are over the
    classes of the batch's domain: each side is cut to its own `class_range`, so that a joint
    classifier can be distilled from a separate one. The teacher gets no gradient.

    The maths is `registry.losses.functional.kl_logit`.

    Args:
        student_temperature: what the student's cosines are divided by.
        teacher_temperature: what the teacher's cosines are divided by.

    Source: UDON, NeurIPS 2024; logit distillation of the released train step (both temperatures
    0.1).

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "embedding_BD": None}
        >>> joint_BC, own_BC = torch.tensor([[0.9, 0.1, 0.2]]), torch.tensor([[0.1, 0.2]])
        >>> joint = Branch(cosine_BC=joint_BC, class_range=range(1, 3), **rest)
        >>> own = Branch(cosine_BC=own_BC, class_range=range(0, 2), **rest)
        >>> bool(LogitKL()(joint, own, None).abs() < 1e-6)
        True
    """

    def __init__(
        self,
        *,
        student_temperature: Annotated[
            float, Field(gt=0, description="What the student's cosines are divided by.")
        ] = 0.1,
        teacher_temperature: Annotated[
            float, Field(gt=0, description="What the teacher's cosines are divided by.")
        ] = 0.1,
    ) -> None:
        self.student_temperature, self.teacher_temperature = (
            student_temperature,
            teacher_temperature,
        )

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of two branches' cosines [B, C], each cut to its `class_range`."""
        return functional.kl_logit(
            student.domain_cosine_BC,
            teacher.domain_cosine_BC,
            student_temperature=self.student_temperature,
            teacher_temperature=self.teacher_temperature,
        )

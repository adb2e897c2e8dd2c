"""Multi-label logit distillation: each class is present or absent by itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import logit_maths


@losses.register("binary_kl")
class BinaryKL:
    """KL from the student's to the teacher's probability of each class by itself.

    It is called (student, teacher, batch) and returns a float32 scalar. Both sides are cut to the
    columns of the batch's domain. The teacher gets no gradient.

    The maths is `registry.losses.logit_maths.binary_kl`.

    Args:
        scale: factor on the cosines.
        bias: taken from the scaled cosines.

    Source: Yang et al., Multi-Label Knowledge Distillation (L2D), ICCV 2023, its first term, to
    which they give a weight of 10. Scale and bias are ours: a sigmoid of a bare cosine would never
    be sure.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "embedding_BD": None}
        >>> branch = Branch(cosine_BC=torch.eye(3), class_range=range(3), **rest)
        >>> bool(BinaryKL()(branch, branch, None) == 0)
        True
    """

    def __init__(
        self,
        *,
        scale: Annotated[float, Field(gt=0, description="Factor on the cosines of both.")] = 16.0,
        bias: Annotated[
            float,
            Field(description="Taken from the scaled cosines; bias / scale means one half."),
        ] = 8.0,
    ) -> None:
        self.scale, self.bias = scale, bias

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of two branches' cosines [B, C], each cut to its `class_range`."""
        return logit_maths.binary_kl(
            self.scale * student.domain_cosine_BC - self.bias,
            self.scale * teacher.domain_cosine_BC - self.bias,
        )

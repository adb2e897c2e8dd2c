"""BCKD: every class by itself, weighted by how far student and teacher are apart."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import logit_maths


@losses.register("sigmoid_focal")
class SigmoidFocal:
    """Binary cross-entropy of each class towards the teacher's, weighted by their difference.

    It is called (student, teacher, batch) and returns a float32 scalar. Both sides are cut to the
    columns of the batch's domain. There is no softmax: a class counts by itself, however many there
    are. The teacher gets no gradient.

    The maths is `registry.losses.logit_maths.sigmoid_focal`.

    Args:
        beta: exponent of the weight.
        scale: factor on the cosines.
        bias: taken from the scaled cosines.

    Source: Yang et al., Bridging Cross-task Protocol Inconsistency for Distillation in Dense Object
    Detection (BCKD), ICCV 2023, its classification part with beta 1. Scale and bias are ours: a
    sigmoid of a bare cosine would never be sure.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "embedding_BD": None}
        >>> branch = Branch(cosine_BC=torch.eye(3), class_range=range(3), **rest)
        >>> bool(SigmoidFocal()(branch, branch, None) == 0)
        True
    """

    def __init__(
        self,
        *,
        beta: Annotated[float, Field(ge=1, description="Exponent of the weight.")] = 1.0,
        scale: Annotated[float, Field(gt=0, description="Factor on the cosines of both.")] = 16.0,
        bias: Annotated[
            float,
            Field(description="Taken from the scaled cosines; bias / scale means one half."),
        ] = 8.0,
    ) -> None:
        self.beta, self.scale, self.bias = beta, scale, bias

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of two branches' cosines [B, C], each cut to its `class_range`."""
        return logit_maths.sigmoid_focal(
            self.scale * student.domain_cosine_BC - self.bias,
            self.scale * teacher.domain_cosine_BC - self.bias,
            beta=self.beta,
        )

"""Logit distillation by the Cauchy-Schwarz divergence, over classes and over images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import logit_maths


@losses.register("cauchy_schwarz")
class CauchySchwarz:
    """Cauchy-Schwarz divergence of class probabilities, of each image and of each class.

    It is called (student, teacher, batch) and returns a float32 scalar. Both sides are cut to the
    columns of the batch's domain. The teacher gets no gradient.

    The maths is `registry.losses.logit_maths.cauchy_schwarz`.

    Args:
        inter: weight of the divergence over the classes of an image.
        intra: weight of the divergence over the images of a class.
        temperature: what the cosines are divided by.

    Source: the divergence of the textbooks, matched between and within outputs as in DIST (NeurIPS
    2022). Weights and temperature are ours.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "embedding_BD": None}
        >>> branch = Branch(cosine_BC=torch.eye(3), class_range=range(3), **rest)
        >>> bool(CauchySchwarz()(branch, branch, None).abs() < 1e-6)
        True
    """

    def __init__(
        self,
        *,
        inter: Annotated[
            float, Field(ge=0, description="Weight of the divergence over the classes of an image.")
        ] = 1.0,
        intra: Annotated[
            float, Field(ge=0, description="Weight of the divergence over the images of a class.")
        ] = 1.0,
        temperature: Annotated[
            float, Field(gt=0, description="What the cosines of both are divided by.")
        ] = 0.1,
    ) -> None:
        self.inter, self.intra, self.temperature = inter, intra, temperature

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of two branches' cosines [B, C], each cut to its `class_range`."""
        return logit_maths.cauchy_schwarz(
            student.domain_cosine_BC / self.temperature,
            teacher.domain_cosine_BC / self.temperature,
            inter=self.inter,
            intra=self.intra,
        )

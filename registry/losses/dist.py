"""DIST: the student's predictions correlate with the teacher's, which may be far surer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import logit_maths


@losses.register("dist")
class Correlation:
    """One minus the correlation of class probabilities, of each image and of each class.

    It is called (student, teacher, batch) and returns a float32 scalar. Both sides are cut to the
    columns of the batch's domain. The teacher gets no gradient.

    The maths is `registry.losses.logit_maths.dist`.

    Args:
        beta: weight of the correlation over the classes of an image.
        gamma: weight of the correlation over the images of a class.
        temperature: what the cosines are divided by.

    Source: Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022, whose code
    has beta and gamma 1. The temperature is that of `kl_logit`, for cosines.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "embedding_BD": None}
        >>> branch = Branch(cosine_BC=torch.eye(3), class_range=range(3), **rest)
        >>> bool(Correlation()(branch, branch, None).abs() < 1e-6)
        True
    """

    def __init__(
        self,
        *,
        beta: Annotated[
            float,
            Field(ge=0, description="Weight of the correlation over the classes of an image."),
        ] = 1.0,
        gamma: Annotated[
            float, Field(ge=0, description="Weight of the correlation over the images of a class.")
        ] = 1.0,
        temperature: Annotated[
            float, Field(gt=0, description="What the cosines of both are divided by.")
        ] = 0.1,
    ) -> None:
        self.beta, self.gamma, self.temperature = beta, gamma, temperature

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of two branches' cosines [B, C], each cut to its `class_range`."""
        return logit_maths.dist(
            student.domain_cosine_BC / self.temperature,
            teacher.domain_cosine_BC / self.temperature,
            beta=self.beta,
            gamma=self.gamma,
        )

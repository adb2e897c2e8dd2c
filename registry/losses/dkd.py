"""Decoupled logit distillation: the target class and the rest have weights of their own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import logit_maths


@losses.register("dkd")
class DecoupledKL:
    """KL of the target class against the rest, and KL among the rest, weighted apart.

    It is called (student, teacher, batch) and returns a float32 scalar. Both sides are cut to the
    columns of the batch's domain. A domain of two classes has nothing among the rest. The teacher
    gets no gradient.

    The maths is `registry.losses.logit_maths.dkd`.

    Args:
        alpha: weight of the target class against the rest.
        beta: weight of what is among the rest.
        temperature: what the cosines are divided by.

    Source: Zhao et al., Decoupled Knowledge Distillation, CVPR 2022, whose alpha is 1 and beta 8.
    The temperature is that of `kl_logit`, for cosines, and no factor of its square is taken.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "embedding_BD": None}
        >>> branch = Branch(cosine_BC=torch.eye(3), class_range=range(3), **rest)
        >>> batch = Batch(images=None, labels=torch.tensor([0, 1, 2]), domain="cars")
        >>> bool(DecoupledKL()(branch, branch, batch) == 0)
        True
    """

    reads_labels = True

    def __init__(
        self,
        *,
        alpha: Annotated[
            float, Field(ge=0, description="Weight of the target class against the rest.")
        ] = 1.0,
        beta: Annotated[
            float, Field(ge=0, description="Weight of what is among the other classes.")
        ] = 8.0,
        temperature: Annotated[
            float, Field(gt=0, description="What the cosines of both are divided by.")
        ] = 0.1,
    ) -> None:
        self.alpha, self.beta, self.temperature = alpha, beta, temperature

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of two branches' cosines [B, C] and the batch's labels int64 [B]."""
        return logit_maths.dkd(
            student.domain_cosine_BC / self.temperature,
            teacher.domain_cosine_BC / self.temperature,
            batch.labels,
            alpha=self.alpha,
            beta=self.beta,
        )

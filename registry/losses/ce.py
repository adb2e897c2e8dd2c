"""Classification by softmax cross-entropy over cosines, with or without a margin."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import functional


@losses.register("ce")
class CrossEntropy:
    """Softmax cross-entropy of scaled cosines, with an optional margin on the target.

    It is called (branch, batch), on the student's or the teacher's branch, and returns a float32
    scalar. The target of label i is column `class_range.start + i`. All columns compete: a joint
    classifier classifies over the classes of all domains.

    The maths is `registry.losses.functional.cross_entropy`.

    Args:
        margin: what `m` changes on the target class.
        m: the margin, a cosine (`cosface`) or radians (`arcface`).
        scale: factor on all cosines, an inverse temperature.

    Raises:
        ValueError: for m > 0 with `normface`, which has no margin.

    Source: UDON, NeurIPS 2024; classification loss of the released train step (normface, scale 16,
    for student and teacher).

    Example:
        >>> import torch
        >>> cosine_BC = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
        >>> rest = {"features_BF": None, "embedding_BD": None}
        >>> branch = Branch(cosine_BC=cosine_BC, class_range=range(1, 3), **rest)
        >>> batch = Batch(images=None, labels=torch.tensor([0]), domain="cars")
        >>> bool(CrossEntropy()(branch, batch) < 1e-6)
        True
    """

    def __init__(
        self,
        *,
        margin: Annotated[
            Literal["normface", "cosface", "arcface"],
            Field(
                description=(
                    "What `m` changes on the target class: nothing (`normface`), its cosine"
                    " (`cosface`) or its angle (`arcface`)."
                )
            ),
        ] = "normface",
        m: Annotated[
            float,
            Field(
                ge=0,
                le=1.5,  # beyond a quarter turn an arcface margin would reward the wrong side
                description=(
                    "The margin: subtracted from the target's cosine, or added to its angle."
                ),
                json_schema_extra={"unit": "cosine (cosface) or radians (arcface)"},
            ),
        ] = 0.0,
        scale: Annotated[
            float,
            Field(
                gt=0,
                description="Factor on all cosines before the softmax, an inverse temperature.",
            ),
        ] = 16.0,
    ) -> None:
        if margin == "normface" and m != 0:
            raise ValueError(
                f"normface has no margin, but m = {m}; use margin 'cosface' or 'arcface', or m = 0"
            )
        self.margin, self.m, self.scale = margin, m, scale

    def __call__(self, branch: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of cosines [B, C] against the batch's labels int64 [B]."""
        target_B = batch.labels + branch.class_range.start
        return functional.cross_entropy(
            branch.cosine_BC, target_B, margin=self.margin, m=self.m, scale=self.scale
        )

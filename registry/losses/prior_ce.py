"""Softmax cross-entropy of cosines that are adjusted by how many images each class has."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from registry import losses
from registry.contracts import Batch, Branch, LossContext
from registry.losses import functional


@losses.register("prior_ce")
class PriorCrossEntropy(nn.Module):
    """Softmax cross-entropy with logit adjustment: large classes have to win by more.

    It is called (branch, batch), on the student's or the teacher's branch, and returns a float32
    scalar of the cosines float [B, C]. As for `ce`, all columns compete; the counts of a joint
    classifier's are those of all domains.

    The maths is `registry.losses.functional.prior_cross_entropy`.

    Args:
        context: what the stage is.
        power: of the counts: above 0 the columns themselves favour small classes, below 0 large
            ones, beyond what the training images do.
        scale: factor on all cosines, an inverse temperature.

    Attributes:
        log_counts: float32, of all classes of all domains, one domain after the other.

    Source: Menon et al., Long-tail learning via logit adjustment, ICLR 2021: the logit-adjusted
    softmax cross-entropy, with their power (tau) of 1. With -0.5, 1 and 2.5 it is what trains the
    three experts of MDCS, ICCV 2023. Ours: the scale, which is that of `ce`.

    Example:
        `losses.student_ce = { use = "prior_ce", power = 1.0 }`
    """

    log_counts: Tensor

    def __init__(
        self,
        context: LossContext,
        *,
        power: Annotated[
            float,
            Field(
                ge=-4,
                le=4,
                description=(
                    "Power of the class counts: `power` times the log of a class's images is added"
                    " to its scaled cosine; 0 is plain cross-entropy."
                ),
            ),
        ] = 1.0,
        scale: Annotated[
            float,
            Field(
                gt=0,
                description="Factor on all cosines before the softmax, an inverse temperature.",
            ),
        ] = 16.0,
    ) -> None:
        super().__init__()
        self.power, self.scale = power, scale
        counts = [context.class_counts[domain] for domain in context.domains]
        starts = [sum(map(len, counts[:position])) for position in range(len(counts))]
        self.starts = dict(zip(context.domains, starts, strict=True))
        # Follows from the data: no checkpoint need hold it.
        self.register_buffer(
            "log_counts", torch.cat(counts).clamp(min=1).float().log(), persistent=False
        )

    def forward(self, branch: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of cosines [B, C] against the batch's labels int64 [B]."""
        # the first column is that of the first domain in a joint classifier, else of this one
        first = self.starts[batch.domain] - branch.class_range.start
        return functional.prior_cross_entropy(
            branch.cosine_BC,
            batch.labels + branch.class_range.start,
            self.log_counts[first : first + branch.cosine_BC.shape[1]],
            power=self.power,
            scale=self.scale,
        )

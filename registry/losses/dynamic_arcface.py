"""ArcFace whose margin is larger for classes of fewer images."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from registry import losses
from registry.contracts import Batch, Branch, LossContext
from registry.losses import functional


@losses.register("dynamic_arcface")
class DynamicArcFace(nn.Module):
    """Softmax cross-entropy with an angular margin that depends on the size of the class.

    It is called (branch, batch), on the student's or the teacher's branch, and returns a float32
    scalar of the cosines float [B, C]. As for `ce`, all columns compete, of any classifier: the
    source's is `sub_centre`. Sizes are compared within a domain, whose smallest and largest class
    have the two margins: how often a domain comes is the sampler's matter.

    The maths is `registry.losses.functional.margins_by_count` and `arcface`.

    Args:
        context: what the stage is.
        m_max: the margin of a domain's smallest classes, in radians.
        m_min: the margin of its largest classes.
        shape: how the margin falls with the number of images.
        scale: factor on all cosines, an inverse temperature.

    Attributes:
        margins: float32, of all classes of all domains, one domain after the other.

    Raises:
        ValueError: m_min is above m_max.

    Source: Ha et al., Google Landmark Recognition 2020 Competition Third Place Solution,
    https://arxiv.org/abs/2010.05350, is `power` with the margins 0.05 to 0.5; its scale is 80.
    `cosine` is UniFEx's, https://github.com/morrisfl/UniFEx. Ours: the comparison within a domain,
    and the scale, which is that of `ce`.

    Example:
        `losses.student_ce = { use = "dynamic_arcface", m_max = 0.4 }`
    """

    margins: Tensor

    def __init__(
        self,
        context: LossContext,
        *,
        m_max: Annotated[
            float,
            Field(
                ge=0,
                le=1.5,  # beyond a quarter turn a margin would reward the wrong side
                description="The margin of a domain's smallest classes.",
                json_schema_extra={"unit": "radians"},
            ),
        ] = 0.5,
        m_min: Annotated[
            float,
            Field(
                ge=0,
                le=1.5,
                description="The margin of a domain's largest classes.",
                json_schema_extra={"unit": "radians"},
            ),
        ] = 0.05,
        shape: Annotated[
            Literal["power", "cosine"],
            Field(
                description=(
                    "How the margin falls with the number n of a class's images: as n ** -0.25"
                    " (`power`), or as half a cosine wave over n (`cosine`)."
                )
            ),
        ] = "power",
        scale: Annotated[
            float,
            Field(
                gt=0,
                description="Factor on all cosines before the softmax, an inverse temperature.",
            ),
        ] = 16.0,
    ) -> None:
        super().__init__()
        if m_min > m_max:
            raise ValueError(
                f"dynamic_arcface has m_min = {m_min} above m_max = {m_max}; small classes have the"
                " larger margin, m_max"
            )
        self.scale = scale
        counts = [context.class_counts[domain] for domain in context.domains]
        starts = [sum(map(len, counts[:position])) for position in range(len(counts))]
        self.starts = dict(zip(context.domains, starts, strict=True))
        parts = [
            functional.margins_by_count(counts_C, shape=shape, m_max=m_max, m_min=m_min)
            for counts_C in counts
        ]
        # Follows from the data: no checkpoint need hold it.
        self.register_buffer("margins", torch.cat(parts), persistent=False)

    def forward(self, branch: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of cosines [B, C] against the batch's labels int64 [B]."""
        return functional.arcface(
            branch.cosine_BC,
            batch.labels + branch.class_range.start,
            self.margins[batch.labels + self.starts[batch.domain]],
            scale=self.scale,
        )

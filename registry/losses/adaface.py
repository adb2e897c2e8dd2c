"""AdaFace: the margin depends on how good an image is, of which the norm of its embedding tells."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from registry import losses
from registry.contracts import Batch, Branch, LossContext
from registry.losses import functional


@losses.register("adaface")
class AdaFace(nn.Module):
    """Softmax cross-entropy with a margin that stresses hard images if they are good ones.

    It is called (branch, batch), on the student's or the teacher's branch, and returns a float32
    scalar of the cosines float [B, C] and the norms of `raw_BD`, float [B, D]: the head must have
    an embedding before its normalisation. As for `ce`, all columns compete, of any classifier. The
    quality of an image is how many standard deviations its norm lies above the running mean of its
    domain's norms, times `h`, cut to -1 .. 1. No gradient goes through the norms.

    The maths is `registry.losses.functional.adaface`.

    Args:
        context: what the stage is.
        m: the margin.
        h: the quality of a norm that is one standard deviation above the mean.
        t_alpha: the weight of a batch in the running mean and standard deviation.
        scale: factor on all cosines, an inverse temperature.

    Attributes:
        mean: float32 [domains], the running mean of the norms, a buffer.
        std: float32 [domains], their running standard deviation, a buffer.
        seen: bool [domains], whether there was a batch of a domain, a buffer.

    Source: Kim et al., AdaFace: Quality Adaptive Margin for Face Recognition, CVPR 2022, and its
    released code (m 0.4, h 0.333, scale 64; t_alpha 0.01 in its configuration). Ours: the scale,
    that of `ce`; statistics for each domain; and that the first batch of a domain begins them.
    Theirs begin with mean 20 and standard deviation 100, the norms of faces.

    Example:
        `losses.student_ce = { use = "adaface", m = 0.3 }`
    """

    mean: Tensor
    std: Tensor
    seen: Tensor

    def __init__(
        self,
        context: LossContext,
        *,
        m: Annotated[
            float,
            Field(
                ge=0,
                le=1.5,  # as in `ce`: beyond a quarter turn it would reward the wrong side
                description="The margin, on the angle of poor images and the cosine of good ones.",
                json_schema_extra={"unit": "radians and cosine"},
            ),
        ] = 0.4,
        h: Annotated[
            float,
            Field(
                ge=0,
                description=(
                    "The quality, from -1 to 1, of a norm that is one standard deviation above the"
                    " mean."
                ),
            ),
        ] = 0.333,
        t_alpha: Annotated[
            float,
            Field(
                gt=0,
                le=1,
                description="The weight of a batch in the running mean and deviation of the norms.",
            ),
        ] = 0.01,
        scale: Annotated[
            float,
            Field(
                gt=0,
                description="Factor on all cosines before the softmax, an inverse temperature.",
            ),
        ] = 16.0,
    ) -> None:
        super().__init__()
        self.m, self.h, self.t_alpha, self.scale = m, h, t_alpha, scale
        self.position = {domain: position for position, domain in enumerate(context.domains)}
        self.register_buffer("mean", torch.zeros(len(context.domains)))
        self.register_buffer("std", torch.ones(len(context.domains)))
        self.register_buffer("seen", torch.zeros(len(context.domains), dtype=torch.bool))

    def forward(self, branch: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of cosines [B, C] and norms [B] against labels int64 [B].

        Raises:
            ValueError: the head has no embedding before its normalisation.
        """
        if branch.raw_BD is None:
            raise ValueError(
                "adaface reads the norm of the embedding before normalisation, which the head does"
                " not give; give it a method project, or choose the head linear or mlp"
            )
        return functional.adaface(
            branch.cosine_BC,
            batch.labels + branch.class_range.start,
            self._quality(branch.raw_BD.detach().float(), self.position[batch.domain]),
            m=self.m,
            scale=self.scale,
        )

    @torch.no_grad()
    def _quality(self, raw_BD: Tensor, position: int) -> Tensor:
        """The quality of each image, float32 [B]; the batch is counted first, as in the source."""
        norm_B = raw_BD.norm(dim=1).clamp(0.001, 100)
        new = torch.stack([norm_B.mean(), norm_B.std(correction=min(1, len(norm_B) - 1))])
        old = torch.stack([self.mean[position], self.std[position]])
        mixed = self.t_alpha * new + (1 - self.t_alpha) * old
        mean, std = torch.where(self.seen[position], mixed, new)
        self.mean[position], self.std[position] = mean, std
        self.seen[position].fill_(True)
        return (self.h * (norm_B - mean) / (std + 1e-3)).clamp(-1, 1)

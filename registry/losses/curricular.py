"""CurricularFace: hard negatives count little at first, and more as training goes on."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import functional

_RATE = 0.01  # of a new batch in the moving average, as in the official code


@losses.register("curricular")
class Curricular(nn.Module):
    """ArcFace whose hard negatives weigh the more the better the targets are met.

    It is called (branch, batch), on the student's or the teacher's branch, and returns a float32
    scalar of the cosines float [B, C]. As for `ce`, all columns compete. All domains have one `t`.

    The maths is `registry.losses.functional.curricular`.

    Args:
        m: the angular margin of the target class.
        scale: factor on all cosines, an inverse temperature.

    Attributes:
        t: float32 scalar, a buffer: moving average of the target's cosines, 0 at the start. The
            checkpoint holds it.

    Source: Huang et al., CurricularFace: Adaptive Curriculum Learning Loss for Deep Face
    Recognition, CVPR 2020, as in the official code, with its margin of 0.5 and scale of 64.

    Example:
        >>> rest = {"features_BF": None, "embedding_BD": None}
        >>> branch = Branch(cosine_BC=torch.tensor([[0.5, 0.1]]), class_range=range(2), **rest)
        >>> loss = Curricular(m=0.2)
        >>> value = loss(branch, Batch(images=None, labels=torch.tensor([0]), domain="cars"))
        >>> loss.t
        tensor(0.0050)
    """

    t: Tensor

    def __init__(
        self,
        *,
        m: Annotated[
            float,
            Field(
                ge=0,
                le=1.5,  # beyond a quarter turn a margin would reward the wrong side
                description="The margin, added to the angle of the target class.",
                json_schema_extra={"unit": "radians"},
            ),
        ] = 0.5,
        scale: Annotated[
            float,
            Field(
                gt=0,
                description="Factor on all cosines before the softmax, an inverse temperature.",
            ),
        ] = 64.0,
    ) -> None:
        super().__init__()
        self.m, self.scale = m, scale
        self.register_buffer("t", torch.zeros(()))

    def forward(self, branch: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of cosines [B, C] against the batch's labels int64 [B]."""
        target_B = batch.labels + branch.class_range.start
        cosine_BC = branch.cosine_BC.float()
        with torch.no_grad():
            self.t.lerp_(cosine_BC.gather(1, target_B.unsqueeze(1)).clamp(-1, 1).mean(), _RATE)
        return functional.curricular(cosine_BC, target_B, self.t, m=self.m, scale=self.scale)

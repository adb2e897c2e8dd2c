"""Proxy-Anchor: every class column pulls its images, the hardest most, and pushes all others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import functional


@losses.register("proxy_anchor")
class ProxyAnchor:
    """Proxy-Anchor loss whose proxies are the model's own class columns.

    It is called (branch, batch), on the student's or the teacher's branch, and returns a float32
    scalar. It reads the cosines float [B, C] to the columns of the batch's domain: those of other
    domains in a joint classifier are neither pulled nor pushed.

    The maths is `registry.losses.functional.proxy_anchor`.

    Args:
        margin: a cosine; images are pulled until they are this near to their own column, and pushed
            until they are this far beyond a right angle to the others.
        alpha: factor on all cosines, an inverse temperature.

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, equation 4 with its
    margin 0.1 and alpha 32. Theirs are proxies beside the model; here they are its class columns,
    which are trained with the rate of the heads.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "embedding_BD": None}
        >>> cosine_BC = torch.tensor([[0.9, 0.1, -0.1]])  # the first column is another domain's
        >>> branch = Branch(cosine_BC=cosine_BC, class_range=range(1, 3), **rest)
        >>> batch = Batch(images=None, labels=torch.tensor([0]), domain="cars")
        >>> ProxyAnchor()(branch, batch)
        tensor(1.0397)
    """

    def __init__(
        self,
        *,
        margin: Annotated[
            float,
            Field(
                ge=0,
                description=(
                    "Added to the cosines of images of other classes, subtracted from those of the"
                    " class's own."
                ),
                json_schema_extra={"unit": "cosine"},
            ),
        ] = 0.1,
        alpha: Annotated[
            float, Field(gt=0, description="Factor on all cosines, an inverse temperature.")
        ] = 32.0,
    ) -> None:
        self.margin, self.alpha = margin, alpha

    def __call__(self, branch: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of cosines [B, C] against the batch's labels int64 [B]."""
        columns = slice(branch.class_range.start, branch.class_range.stop)
        return functional.proxy_anchor(
            branch.cosine_BC[:, columns], batch.labels, margin=self.margin, alpha=self.alpha
        )

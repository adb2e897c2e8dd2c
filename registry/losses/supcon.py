"""Supervised contrastive learning: images of a class attract each other, without class columns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import functional


@losses.register("supcon")
class SupCon:
    """Supervised contrastive loss on the embeddings of a batch and their labels.

    It is called (branch, batch), on the student's or the teacher's branch, and returns a float32
    scalar. The embeddings float [B, D] are compared with each other; the class columns are not
    read, nor trained by it. Only images with another one of their class in the batch count. A batch
    where no class has two images gives 0 and a gradient of zeros, so it wants large batches or few
    classes.

    The maths is `registry.losses.functional.supcon`.

    Args:
        temperature: what the cosines are divided by.

    Source: Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, equation 2 with one view
    per image. Its temperature is 0.1.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "cosine_BC": None, "class_range": range(2)}
        >>> branch = Branch(embedding_BD=torch.eye(3), **rest)
        >>> batch = Batch(images=None, labels=torch.tensor([0, 0, 1]), domain="cars")
        >>> SupCon()(branch, batch)  # all are equally far from each other: log(2)
        tensor(0.6931)
    """

    def __init__(
        self,
        *,
        temperature: Annotated[
            float, Field(gt=0, description="What the cosines are divided by.")
        ] = 0.1,
    ) -> None:
        self.temperature = temperature

    def __call__(self, branch: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of embeddings [B, D] against the batch's labels int64 [B]."""
        return functional.supcon(branch.embedding_BD, batch.labels, temperature=self.temperature)

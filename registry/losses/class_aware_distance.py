"""Distances within each class follow the teacher's."""

from __future__ import annotations

from torch import Tensor

from registry import losses
from registry.contracts import Batch, Branch
from registry.losses import relation_maths


@losses.register("class_aware_distance")
class ClassAwareDistance:
    """Smooth L1 difference of the distances within each class, over their mean.

    It is called (student, teacher, batch) and returns a float32 scalar. Embeddings are compared,
    not classes: the two dimensions may differ, and no classifier is trained by it. Classes with one
    image in the batch give nothing, so it wants several of each. The teacher gets no gradient.

    The maths is `registry.losses.relation_maths.class_aware_distance`.

    Source: Yang et al., Multi-Label Knowledge Distillation (L2D), ICCV 2023, class-aware label-wise
    embedding distillation, to which they give a weight of 100, with one label per image.

    Example:
        >>> import torch
        >>> rest = {"features_BF": None, "cosine_BC": None, "class_range": range(3)}
        >>> branch = Branch(embedding_BD=torch.eye(3), **rest)
        >>> batch = Batch(images=None, labels=torch.tensor([0, 1, 2]), domain="cars")
        >>> ClassAwareDistance()(branch, branch, batch)
        tensor(0.)
    """

    reads_labels = True

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Tensor:
        """The loss, a scalar, of embeddings [B, D] and [B, E] and the batch's labels int64 [B]."""
        return relation_maths.class_aware_distance(
            student.embedding_BD, teacher.embedding_BD, batch.labels
        )

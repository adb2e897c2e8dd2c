"""Random branches and batches for the tests of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from registry.contracts import Batch, Branch, LossContext


def unit_rows(rows: int, dim: int, seed: int = 0) -> Tensor:
    """Random float64 [rows, dim] of unit length, which take a gradient."""
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(random).requires_grad_()


def branch_of(
    embedding_BD: Tensor | None, cosine_BC: Tensor | None = None, columns: range | None = None
) -> Branch:
    """A branch with these embeddings and cosines; `columns` are its domain's, None for all."""
    if columns is None and cosine_BC is not None:
        columns = range(cosine_BC.shape[1])
    return Branch(
        features_BF=None,
        embedding_BD=embedding_BD,
        cosine_BC=cosine_BC,
        class_range=columns or range(0),
    )


def batch_of(labels: Sequence[int]) -> Batch:
    """A batch with these labels."""
    return Batch(images=None, labels=torch.tensor(labels), domain="cars")


def context_of(counts: Mapping[str, Sequence[int]]) -> LossContext:
    """What a loss on a student of domains with these class counts is built with."""
    return LossContext(
        name="loss",
        on="student",
        domains=tuple(counts),
        class_counts={domain: torch.tensor(sizes) for domain, sizes in counts.items()},
        student_dim=8,
        teacher_dim=None,
        steps=10,
    )

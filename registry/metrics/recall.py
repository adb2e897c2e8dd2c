"""Recall at a rank: whether any of the first neighbours is relevant."""

from __future__ import annotations

import numpy as np

from registry.metrics import register


class _RecallAt:
    label: str
    depth: int

    def __call__(self, relevant_QK: np.ndarray, relevant_Q: np.ndarray) -> np.ndarray:
        return np.any(relevant_QK[:, : self.depth], axis=1).astype(np.float64)


@register("r1")
class RecallAt1(_RecallAt):
    """R@1: 1 where the nearest neighbour is relevant, else 0.

    A query without a relevant item in the index counts with 0.

    Source: Ypsilantis et al., "Towards Universal Image Embeddings", ICCV 2023; equation 9 of
    docs/method.md.

    Example:
        >>> RecallAt1()(np.array([[True, False], [False, True]]), np.array([3, 1])).tolist()
        [1.0, 0.0]
    """

    label, depth = "R@1", 1


@register("r5")
class RecallAt5(_RecallAt):
    """R@5: 1 where any of the five nearest neighbours is relevant, else 0.

    Source: Jégou et al., "Product Quantization for Nearest Neighbor Search", TPAMI 2011.

    Example:
        >>> RecallAt5()(np.array([[False, False, False, False, True]]), np.array([3])).tolist()
        [1.0]
    """

    label, depth = "R@5", 5

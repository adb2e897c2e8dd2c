"""Precision among the first neighbours, at most as many as there are relevant items."""

from __future__ import annotations

import numpy as np

from registry.metrics import register


@register("mmp5")
class ModifiedPrecisionAt5:
    """mMP@5: share of relevant items among the first min(5, n) neighbours, n being all that are.

    A query without a relevant item in the index counts with 0.

    Source: Ypsilantis et al., "Towards Universal Image Embeddings", ICCV 2023; the modification is
    that of the Google Universal Image Embedding Challenge, 2022. Equation 10 of docs/method.md.

    Example:
        >>> relevant_QK = np.array([[True, False, True, False, False]] * 2)
        >>> ModifiedPrecisionAt5()(relevant_QK, np.array([2, 10])).tolist()
        [0.5, 0.4]
    """

    label, depth = "mMP@5", 5

    def __call__(self, relevant_QK: np.ndarray, relevant_Q: np.ndarray) -> np.ndarray:
        """Precision float64 [Q] of hits bool [Q, K]; `relevant_Q` are relevant in all."""
        read_Q = np.minimum(relevant_Q, self.depth)
        inside_QK = np.arange(self.depth) < read_Q[:, None]
        return (relevant_QK[:, : self.depth] & inside_QK).sum(axis=1) / np.maximum(read_Q, 1)

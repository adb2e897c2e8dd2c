"""Mean reciprocal rank."""

from __future__ import annotations

import numpy as np

from registry.metrics import register


@register("mrr")
class MeanReciprocalRank:
    """MRR: 1 / rank of the first relevant neighbour, 0 where none is among the first 100.

    The cut-off keeps the search shallow: what lies behind it would add less than 0.01 to a query.

    Source: Voorhees, "The TREC-8 Question Answering Track Report", TREC 1999.

    Example:
        >>> relevant_QK = np.array([[False, True, True], [False, False, False]])
        >>> MeanReciprocalRank()(relevant_QK, np.array([2, 1])).tolist()
        [0.5, 0.0]
    """

    label, depth = "MRR", 100

    def __call__(self, relevant_QK: np.ndarray, relevant_Q: np.ndarray) -> np.ndarray:
        """Reciprocal rank float64 [Q] of hits bool [Q, K]; `relevant_Q` is not read."""
        first_Q = relevant_QK[:, : self.depth].argmax(axis=1)
        return relevant_QK[:, : self.depth].any(axis=1) / (first_Q + 1)

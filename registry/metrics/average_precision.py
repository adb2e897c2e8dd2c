"""Mean average precision at R."""

from __future__ import annotations

import numpy as np

from registry.metrics import register


@register("map_r")
class MeanAveragePrecisionAtR:
    """mAP@R: the mean over the first R ranks of the precision there, 0 at ranks that are wrong.

    R is the number of relevant items in the index, the query itself left out. A query for which R
    is 0 counts with 0.

    Source: Musgrave et al., "A Metric Learning Reality Check", ECCV 2020, equation 3.

    Example:
        >>> relevant_QK = np.array([[True, False, True, True]])
        >>> MeanAveragePrecisionAtR()(relevant_QK, np.array([4])).tolist() == [(1 + 2/3 + 3/4) / 4]
        True
    """

    label, depth = "mAP@R", None

    def __call__(self, relevant_QK: np.ndarray, relevant_Q: np.ndarray) -> np.ndarray:
        """Average precision float64 [Q] of hits bool [Q, K]; `relevant_Q` are relevant in all."""
        rank_K = np.arange(1, relevant_QK.shape[1] + 1)
        right_QK = relevant_QK & (rank_K <= relevant_Q[:, None])
        precision_QK = right_QK.cumsum(axis=1) / rank_K
        return (precision_QK * right_QK).sum(axis=1) / np.maximum(relevant_Q, 1)

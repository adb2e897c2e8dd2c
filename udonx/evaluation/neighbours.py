"""The nearest index images of every query, kept beside the metrics of the same search.

Shapes: Q queries, B queries of a batch, N index items, K neighbours.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import attrs
import numpy as np

KEPT_NEIGHBOURS = 5
"""How many of each query an evaluation keeps: what a person looks at, and mMP@5 reads."""


@attrs.frozen(eq=False)
class Neighbours:
    """The K nearest index items of every query, best first; the query itself is not among them.

    Attributes:
        rows_QK: int32, their positions among all index items, also where only those of the query's
            domain were searched; -1 where there are fewer than K.
        scores_QK: float32, their inner products with the query; -inf beside a row of -1.
        relevant_QK: bool, whether they are relevant to the query.
        ids_N: the index images by position, as given; None where nothing was given.
    """

    rows_QK: np.ndarray
    scores_QK: np.ndarray
    relevant_QK: np.ndarray
    ids_N: Sequence[Hashable] | None

    @classmethod
    def empty(cls, queries: int, count: int, ids_N: Sequence[Hashable] | None) -> Neighbours:
        """No neighbours yet, with room for `count` of each query."""
        shape = (queries, count)
        return cls(
            rows_QK=np.full(shape, -1, dtype=np.int32),
            scores_QK=np.full(shape, -np.inf, dtype=np.float32),
            relevant_QK=np.zeros(shape, dtype=bool),
            ids_N=ids_N,
        )

    def put(
        self,
        queries: np.ndarray,
        rows_BK: np.ndarray,
        scores_BK: np.ndarray,
        relevant_BK: np.ndarray,
    ) -> None:
        """Fill in what a search found for some queries; what is deeper than K is left out.

        Args:
            queries: which queries they are, int64 [B].
            rows_BK: positions in the index.
            scores_BK: inner products.
            relevant_BK: whether they are relevant.
        """
        count = self.rows_QK.shape[1]
        self.rows_QK[queries] = rows_BK[:, :count]
        self.scores_QK[queries] = scores_BK[:, :count]
        self.relevant_QK[queries] = relevant_BK[:, :count]

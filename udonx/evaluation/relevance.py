"""Which index items are relevant to which queries, in small integers.

Shapes: Q queries, N index items, K neighbours, L labels of the query that has most.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import chain, count

import attrs
import numpy as np
import torch

Labels = np.ndarray | torch.Tensor | Sequence[int] | Sequence[Sequence[int]]


@attrs.frozen(eq=False)
class Items:
    """Which index items are relevant to which queries, as codes.

    Attributes:
        pairs_QL: int64, the (domain, label) pairs of each query; -1 pads queries with fewer labels.
        pairs_N: int64, the pair of each index item.
        ids_Q: int64, which image each query is; None where that is not known.
        ids_N: int64, which image each index item is.
    """

    pairs_QL: np.ndarray
    pairs_N: np.ndarray
    ids_Q: np.ndarray | None
    ids_N: np.ndarray | None

    @classmethod
    def of(
        cls,
        query_labels: Labels,
        domains_Q: np.ndarray,
        query_ids: Sequence[Hashable] | None,
        index_labels: Labels,
        domains_N: np.ndarray,
        index_ids: Sequence[Hashable] | None,
    ) -> Items:
        """Number the labels and images of queries and index items, whose domains are numbers."""
        pairs_QL, pairs_N = _encode_pairs(query_labels, domains_Q, index_labels, domains_N)
        if query_ids is None or index_ids is None:
            return cls(pairs_QL, pairs_N, None, None)
        _, ids_Q, ids_N = encode(query_ids, index_ids)
        return cls(pairs_QL, pairs_N, ids_Q, ids_N)

    def relevant(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether index items `rows` are relevant to `queries`.

        The two are broadcast against each other; row -1 never is relevant.
        """
        relevant = np.zeros(np.broadcast_shapes(queries.shape, rows.shape), dtype=bool)
        if len(self.pairs_N):
            pairs = self.pairs_N[rows]
            for pairs_Q in self.pairs_QL.T:
                relevant |= pairs_Q[queries] == pairs
        return relevant & (rows >= 0)

    def own_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """All (query, index row) that are the same image, as two equally long int64 arrays."""
        if self.ids_Q is None or self.ids_N is None:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        by_id_N = np.argsort(self.ids_N, kind="stable")
        low_Q = np.searchsorted(self.ids_N[by_id_N], self.ids_Q, side="left")
        size_Q = np.searchsorted(self.ids_N[by_id_N], self.ids_Q, side="right") - low_Q
        queries = np.repeat(np.arange(len(self.ids_Q)), size_Q)
        return (
            queries,
            by_id_N[
                np.arange(size_Q.sum()) + np.repeat(low_Q - (np.cumsum(size_Q) - size_Q), size_Q)
            ],
        )

    def count_positives(self, own_queries: np.ndarray, own_rows: np.ndarray) -> np.ndarray:
        """Relevant index items of every query, without the query itself: int64 [Q].

        Args:
            own_queries: the first that `own_rows` found.
            own_rows: the second.
        """
        sorted_N = np.sort(self.pairs_N)
        counts_QL = np.searchsorted(sorted_N, self.pairs_QL, side="right") - np.searchsorted(
            sorted_N, self.pairs_QL, side="left"
        )
        own_relevant = own_queries[self.relevant(own_queries, own_rows)]
        return counts_QL.sum(axis=1) - np.bincount(own_relevant, minlength=len(counts_QL))

    def drop_own(
        self, rows_QK: np.ndarray, scores_QK: np.ndarray, queries: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Move the query itself behind its neighbours; the order of the others stays.

        Args:
            rows_QK: index items, best first.
            scores_QK: their scores.
            queries: which queries they were found for.

        Returns:
            Rows and scores; the query itself became row -1 of score -inf.
        """
        if self.ids_Q is None or self.ids_N is None or not len(self.ids_N):
            return rows_QK, scores_QK
        own_QK = (self.ids_N[rows_QK] == self.ids_Q[queries][:, None]) & (rows_QK >= 0)
        order_QK = np.argsort(own_QK, axis=1, kind="stable")
        return (
            np.take_along_axis(np.where(own_QK, -1, rows_QK), order_QK, axis=1),
            np.take_along_axis(np.where(own_QK, -np.inf, scores_QK), order_QK, axis=1),
        )


def encode(*sequences: Sequence[Hashable]) -> tuple[list[Hashable], np.ndarray, np.ndarray]:
    """Number the distinct values of two sequences in order of appearance.

    Returns:
        Values, codes of the first, codes of the second.
    """
    lists = [
        values.tolist() if isinstance(values, np.ndarray | torch.Tensor) else list(values)
        for values in sequences
    ]
    code = dict(zip(dict.fromkeys(chain(*lists)), count(), strict=False))
    first, second = (
        np.fromiter(map(code.__getitem__, values), dtype=np.int64, count=len(values))
        for values in lists
    )
    return list(code), first, second


def _flatten(name: str, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Turn labels into (all labels in a row int64, labels per item int64)."""
    values = labels.tolist() if isinstance(labels, np.ndarray | torch.Tensor) else labels
    try:
        several = [
            value if isinstance(value, list | tuple | np.ndarray) else (value,) for value in values
        ]
        sizes = np.fromiter(map(len, several), dtype=np.int64, count=len(several))
        flat = np.array(list(chain.from_iterable(several)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold integers or lists of integers ({error}).") from error
    if flat.size and flat.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integers or lists of integers, got {flat.dtype}.")
    return flat.astype(np.int64), sizes


def _encode_pairs(
    query_labels: Labels, domains_Q: np.ndarray, index_labels: Labels, domains_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number the (domain, label) pairs: (pairs_QL padded with -1, pairs_N)."""
    query_flat, query_sizes_Q = _flatten("query_labels", query_labels)
    index_flat, index_sizes_N = _flatten("index_labels", index_labels)
    if (index_sizes_N != 1).any():
        row = int((index_sizes_N != 1).argmax())
        raise ValueError(
            f"index_labels must hold one label per item, got {index_sizes_N[row]} in row {row};"
            " only queries have several."
        )
    values, codes = np.unique(np.concatenate([query_flat, index_flat]), return_inverse=True)
    owner = np.repeat(np.arange(len(query_sizes_Q)), query_sizes_Q)
    pairs = domains_Q[owner] * len(values) + codes[: len(query_flat)]
    # A label that a query lists twice is one class: its items must not be counted twice.
    owner, pairs = np.unique(np.stack([owner, pairs]), axis=1)
    position = np.arange(len(owner)) - np.searchsorted(owner, owner)
    pairs_QL = np.full((len(query_sizes_Q), int(position.max(initial=-1)) + 1), -1, dtype=np.int64)
    pairs_QL[owner, position] = pairs
    return pairs_QL, domains_N * len(values) + codes[len(query_flat) :]

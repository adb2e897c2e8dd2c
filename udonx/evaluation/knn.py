"""Exact inner-product search whose order is the same on every machine.

Shapes: Q queries, N index rows, U distinct index rows, D dimensions, K neighbours, C candidates.

A matrix product may give two equal rows scores that differ in the last bit, because rows at the
edge of a tile are summed in another order. So faiss only proposes candidates here; the order comes
from float64 scores that are computed for every pair alike.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from udonx.common.faiss_after_torch import faiss

BATCH = 4096
"""Queries that are searched at once."""
# Candidates beyond k. They make room for groups of equal scores that straddle rank k.
_SPARE = 16
# Above this many candidates per query, ties between *different* vectors at rank k keep faiss's
# order: memory stays bounded.
_MOST_CANDIDATES = 1024
# (query, index row) pairs that are ranked at once.
_PAIRS = 2**18
# Index rows that are hashed or compared at once.
_ROWS = 2**11


def as_matrix(name: str, values: torch.Tensor | np.ndarray) -> np.ndarray:
    """Return embeddings as a contiguous float32 [N, D] array on the host.

    Args:
        name: what the caller calls these values, for the error message.
        values: torch tensor (any device) or NumPy array, floating point, [N, D].

    Raises:
        ValueError: it is not a matrix of floats, or it holds NaN or infinity.

    Example:
        >>> as_matrix("queries", np.eye(2, dtype=np.float16)).dtype
        dtype('float32')
    """
    if isinstance(values, torch.Tensor):
        # bfloat16 has no NumPy counterpart, so the cast comes before the conversion.
        values = (
            values.detach().to(device="cpu", dtype=torch.float32).numpy()
            if values.is_floating_point()
            else values.cpu().numpy()
        )
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] == 0 or values.dtype.kind != "f":
        raise ValueError(
            f"{name} must be a matrix of floats [N, D], got {values.dtype} of shape"
            f" {tuple(values.shape)}."
        )
    matrix_ND = np.ascontiguousarray(values, dtype=np.float32)
    finite_N = np.concatenate(
        [np.isfinite(part_ND).all(axis=1) for part_ND in _parts(matrix_ND)]
        or [np.empty(0, dtype=bool)]
    )
    if not finite_N.all():
        raise ValueError(
            f"{name} holds NaN or infinity in {int((~finite_N).sum())} of {len(finite_N)} rows,"
            f" first in row {int(finite_N.argmin())}: a model that produced it has diverged."
        )
    return matrix_ND


def search(
    queries_QD: torch.Tensor | np.ndarray,
    index_ND: torch.Tensor | np.ndarray,
    k: int,
    batch: int = BATCH,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k index rows with the highest inner product for every query.

    Among equals the lower row comes first.

    Equal index rows are searched once and expanded afterwards, so any number of exact duplicates (a
    collapsed model, an image in two domains) is ordered correctly. Beside what it is given it holds
    O(Q k + N + batch), and a copy of the distinct rows where any repeat; the Q x N matrix is never
    built.

    Args:
        queries_QD: float [Q, D].
        index_ND: float [N, D].
        k: neighbours per query, at least 1.
        batch: queries per faiss call.

    Returns:
        (scores_QK float32, rows_QK int64), best first. Where the index holds fewer than k rows, the
        rest is (-inf, -1).

    Raises:
        ValueError: not float matrices, different widths, NaN or infinity, or k or batch below 1.

    Source: the released UDON code: top-k by inner product, the lower index row wins ties.

    Example:
        >>> index = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
        >>> scores, rows = search(np.array([[1.0, 0.0]]), index, k=2)
        >>> rows.tolist(), scores.tolist()
        ([[1, 2]], [[1.0, 1.0]])
    """
    return ExactSearch(index_ND).search(queries_QD, k, batch)


def search_batches(
    queries_QD: torch.Tensor | np.ndarray,
    index_ND: torch.Tensor | np.ndarray,
    k: int,
    batch: int = BATCH,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """What `search` finds, one batch of queries after the other.

    So a deep search of many queries need not lie in memory as a whole.

    Args:
        queries_QD: as for `search`.
        index_ND: as for `search`.
        k: as for `search`.
        batch: as for `search`.

    Yields:
        (the batch's queries, scores_BK float32, rows_BK int64).

    Raises:
        ValueError: as `search` does, before the first batch.
    """
    yield from ExactSearch(index_ND).batches(queries_QD, k, batch)


class ExactSearch:
    """What `search` does, for one index that is searched many times: it is prepared once.

    Args:
        index_ND: float [N, D]; a contiguous float32 array is read where it is, memory-mapped too.

    Raises:
        ValueError: no float matrix, or it holds NaN or infinity.

    Example:
        >>> searched = ExactSearch(np.array([[0.0, 1.0], [1.0, 0.0]]))
        >>> [rows.tolist() for _, _, rows in searched.batches(np.array([[1.0, 0.0]]), k=1)]
        [[[1]]]
    """

    def __init__(self, index_ND: torch.Tensor | np.ndarray) -> None:
        self.index_ND = as_matrix("index", index_ND)
        self._distinct = _DistinctRows(self.index_ND) if len(self.index_ND) else None

    def batches(
        self, queries_QD: torch.Tensor | np.ndarray, k: int, batch: int = BATCH
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """As `search_batches` with this index."""
        queries_QD = as_matrix("queries", queries_QD)
        if queries_QD.shape[1] != self.index_ND.shape[1]:
            raise ValueError(
                f"queries and index must have the same width, got {queries_QD.shape[1]} and"
                f" {self.index_ND.shape[1]}."
            )
        if k < 1 or batch < 1:
            raise ValueError(f"k and batch must be at least 1, got k={k} and batch={batch}.")
        for start in range(0, len(queries_QD), batch):
            part = slice(start, min(start + batch, len(queries_QD)))
            if self._distinct is None:
                yield part, *_nothing(len(queries_QD[part]), k)
            else:
                yield part, *_search_batch(queries_QD[part], self._distinct, k)

    def search(
        self, queries_QD: torch.Tensor | np.ndarray, k: int, batch: int = BATCH
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `search` with this index."""
        found = list(self.batches(queries_QD, k, batch))
        if not found:
            return _nothing(0, k)
        _, scores, rows = zip(*found, strict=True)
        return np.concatenate(scores), np.concatenate(rows)


def _nothing(count: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The result of queries that find nothing."""
    return np.full((count, k), -np.inf, np.float32), np.full((count, k), -1, np.int64)


class _DistinctRows:
    """The distinct rows of an index, and for each the original rows that equal it.

    Those are in ascending order.

    Beside the index itself only a few numbers per row are held, or, where rows repeat, a second
    matrix of the distinct ones.
    """

    def __init__(self, index_ND: np.ndarray) -> None:
        first_N = _first_equal(index_ND)
        first_U = np.flatnonzero(first_N == np.arange(len(first_N)))
        # In the order of their first rows, so that faiss sees the index in its own order.
        self.vectors_UD = index_ND if len(first_U) == len(index_ND) else index_ND[first_U]
        self.sizes_U = np.bincount(first_N, minlength=len(first_N))[first_U]
        self.members_N = np.argsort(first_N, kind="stable")
        self.starts_U = np.cumsum(self.sizes_U) - self.sizes_U
        self.largest_norm = max(
            float(np.linalg.norm(part_ND, axis=1).max()) for part_ND in _parts(self.vectors_UD)
        )

    def counts(self, groups_QC: np.ndarray, k: int) -> np.ndarray:
        """How many rows each distinct row stands for, int64 [Q, C].

        More than k of one can never be needed.
        """
        return np.minimum(self.sizes_U[groups_QC], k)

    def propose(self, queries_QD: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The `count` best candidates of each query, as faiss finds them.

        Returns:
            Scores float32 [Q, count], distinct rows int64 [Q, count].
        """
        # faiss.knn reads the matrix where it is; an IndexFlatIP would hold a copy.
        return faiss.knn(queries_QD, self.vectors_UD, count, metric=faiss.METRIC_INNER_PRODUCT)


def _first_equal(index_ND: np.ndarray) -> np.ndarray:
    """For every row the lowest row that equals it, int64 [N]; -0.0 equals 0.0."""
    hashes_N = _hashes(index_ND)
    first_N = np.empty(len(index_ND), dtype=np.int64)
    # Rows of one hash stand side by side, in ascending order. The first of them leads those that
    # equal it; the others, if any, share its hash by chance, and are looked at again among
    # themselves.
    open_M = np.argsort(hashes_N, kind="stable")
    while len(open_M):
        begins_M = np.diff(hashes_N[open_M], prepend=~hashes_N[open_M[0]]) != 0
        leaders_M = open_M[np.flatnonzero(begins_M)][np.cumsum(begins_M) - 1]
        equal_M = _equal_rows(index_ND, open_M, leaders_M)
        first_N[open_M[equal_M]] = leaders_M[equal_M]
        open_M = open_M[~equal_M]
    return first_N


def _hashes(index_ND: np.ndarray) -> np.ndarray:
    """A number for every row, equal for equal rows: uint64 [N]."""
    weights_D = np.random.default_rng(0).integers(
        2**64, size=index_ND.shape[1], dtype=np.uint64
    ) | np.uint64(1)
    # -0.0 equals 0.0 but differs from it in bits; adding 0.0 makes it 0.0.
    bits = ((part_ND + np.float32(0)).view(np.uint32) for part_ND in _parts(index_ND))
    return np.concatenate([(bits_ND * weights_D).sum(axis=1, dtype=np.uint64) for bits_ND in bits])


def _equal_rows(index_ND: np.ndarray, one_M: np.ndarray, other_M: np.ndarray) -> np.ndarray:
    """Whether rows equal each other, pair by pair: bool [M]."""
    equal_M = one_M == other_M
    for part in _parts(np.flatnonzero(~equal_M)):
        equal_M[part] = (index_ND[one_M[part]] == index_ND[other_M[part]]).all(axis=1)
    return equal_M


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    """An array in pieces of some rows: what is computed from a piece is small beside an index."""
    return (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))


def _search_batch(
    queries_QD: np.ndarray, distinct: _DistinctRows, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Search one batch.

    Queries whose k-th place might still be tied with a row not yet seen are searched again, wider.
    """
    scores_QK = np.full((len(queries_QD), k), -np.inf, dtype=np.float64)
    rows_QK = np.full((len(queries_QD), k), -1, dtype=np.int64)
    # Bound on the rounding error of a float32 inner product of D terms, on faiss's side of the
    # comparison below.
    norms_Q = np.linalg.norm(queries_QD.astype(np.float64), axis=1)
    slack_Q = 2.0 * queries_QD.shape[1] * np.finfo(np.float32).eps * norms_Q * distinct.largest_norm
    open_Q = np.arange(len(queries_QD))
    wanted = k + _SPARE
    while len(open_Q):
        wanted = min(wanted, len(distinct.sizes_U))
        proposed_QC, groups_QC = distinct.propose(queries_QD[open_Q], wanted)
        most_rows = int(distinct.counts(groups_QC, k).sum(axis=1).max())
        step = max(1, _PAIRS // most_rows)
        for start in range(0, len(open_Q), step):
            part = open_Q[start : start + step]
            scores_QK[part], rows_QK[part] = _rank(
                queries_QD[part], groups_QC[start : start + step], distinct, k
            )
        if wanted == len(distinct.sizes_U) or wanted >= max(_MOST_CANDIDATES, k + _SPARE):
            break
        open_Q = open_Q[proposed_QC[:, -1] + slack_Q[open_Q] >= scores_QK[open_Q, -1]]
        wanted = 8 * wanted
    return scores_QK.astype(np.float32), rows_QK


def _rank(
    queries_QD: np.ndarray, groups_QC: np.ndarray, distinct: _DistinctRows, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Expand candidate groups to rows and return the best k.

    They are ordered by float64 score, descending, then by row, ascending.
    """
    queries_QD = queries_QD.astype(np.float64)
    scores_QC = np.empty(groups_QC.shape, dtype=np.float64)
    for column, groups_Q in enumerate(groups_QC.T):
        # Product, then a sum over the last axis of a contiguous array: the same order of additions
        # for every pair.
        scores_QC[:, column] = (queries_QD * distinct.vectors_UD[groups_Q]).sum(axis=1)
    # One entry for each row that a candidate stands for; `place` counts within the candidate.
    counts_QC = distinct.counts(groups_QC, k)
    candidate_R = np.repeat(np.arange(counts_QC.size), counts_QC.ravel())
    place_R = _places(counts_QC.ravel())
    query_R = candidate_R // groups_QC.shape[1]
    row_R = distinct.members_N[distinct.starts_U[groups_QC].ravel()[candidate_R] + place_R]
    score_R = scores_QC.ravel()[candidate_R]
    order_R = np.lexsort((row_R, -score_R, query_R))
    rank_R = _places(counts_QC.sum(axis=1))
    order_K, rank_K = order_R[rank_R < k], rank_R[rank_R < k]
    scores_QK = np.full((len(queries_QD), k), -np.inf)
    rows_QK = np.full((len(queries_QD), k), -1, dtype=np.int64)
    scores_QK[query_R[order_K], rank_K] = score_R[order_K]
    rows_QK[query_R[order_K], rank_K] = row_R[order_K]
    return scores_QK, rows_QK


def _places(counts: np.ndarray) -> np.ndarray:
    """0, 1, ... anew for each count: int64 [sum of the counts].

    >>> _places(np.array([2, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)

"""Approximate neighbours: faiss's HNSW and IVF-PQ, and how many of the true ones they find.

They only propose rows. The scores of what they propose, and its order, are exact: they are
computed again from the vectors themselves.

Shapes: Q queries, N index rows, D dimensions, K neighbours, C candidates, B rows of a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np

from udonx.common.faiss_after_torch import faiss
from udonx.common.progress import Report
from udonx.evaluation.knn import ExactSearch, as_matrix

ApproximateKind = Literal["hnsw", "ivfpq"]

LEAST: dict[ApproximateKind, int] = {"hnsw": 1000, "ivfpq": 10_000}
"""Vectors that each kind needs: fewer are searched exactly in no time, or are too few to learn the
centroids from (256 for each part of a vector, 39 vectors for each)."""

RECALL_K = 10
"""Neighbours that recall is measured over."""
_HELD = 1000  # queries that it is measured with; every 10th vector of a smaller index
_BLOCK = 2**13  # rows that are added at once
_PAIRS = 2**15  # (query, candidate) pairs whose vectors lie in memory at once
_MAX_CENTROIDS = 2**16
_TRAINED_ON = 64  # vectors for each centroid; faiss asks for 39 at least


@attrs.frozen(kw_only=True)
class Recall:
    """How many of the true neighbours an approximate search finds.

    Attributes:
        k: neighbours of each query that count.
        queries: how many vectors of the index, held out meanwhile, were searched for.
        recall: the share of their true neighbours that was found, 0 to 1.
    """

    k: int
    queries: int
    recall: float

    def __str__(self) -> str:
        return (
            f"recall@{self.k} {100 * self.recall:.1f} % of exact search ({self.queries:,} held-out"
            " vectors)"
        )


class ApproximateSearch:
    """A structure of faiss over vectors, and the vectors.

    Args:
        structure: proposes rows.
        vectors_ND: float32 or float16 [N, D], unit rows; memory-mapped as well.
        kind: what the structure is.
    """

    def __init__(self, structure: Any, vectors_ND: np.ndarray, kind: ApproximateKind) -> None:
        self._structure, self._vectors_ND, self._kind = structure, vectors_ND, kind

    @classmethod
    def build(
        cls, kind: ApproximateKind, vectors_ND: np.ndarray
    ) -> tuple[ApproximateSearch, Recall]:
        """Build the structure, and measure it.

        Some vectors are held out first and searched for, exactly and approximately, among the
        others; then they are added too.

        Args:
            kind: "hnsw" or "ivfpq".
            vectors_ND: float32 or float16 [N, D], unit rows, N at least `LEAST[kind]`.

        Returns:
            The search over all vectors, and its recall.
        """
        count = len(vectors_ND)
        order_N = np.random.default_rng(0).permutation(count)
        held_Q, others_M = np.split(order_N, [min(_HELD, count // 10)])
        others_M.sort()  # a memory-mapped file is read from front to back
        search = cls(_empty(kind, vectors_ND), vectors_ND, kind)
        with Report(f"building {kind}", count, "vectors", closing_line=False) as report:
            search._add(others_M, report)
            recall = search._measure(held_Q, others_M)
            search._add(held_Q, report)
        return search, recall

    def search(self, queries_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The best rows that are found for each query, by exact score.

        Args:
            queries_QD: float [Q, D].
            k: neighbours per query.

        Returns:
            (scores_QK float32, rows_QK int64), best first; (-inf, -1) where fewer were found.
        """
        queries_QD = as_matrix("queries", queries_QD)
        scores_QK = np.full((len(queries_QD), k), -np.inf, np.float32)
        rows_QK = np.full((len(queries_QD), k), -1, np.int64)
        wanted = min(_candidates(self._kind, k), len(self._vectors_ND))
        step = max(1, _PAIRS // wanted)
        for start in range(0, len(queries_QD), step):
            part = slice(start, start + step)
            _, candidates_BC = self._structure.search(
                queries_QD[part], wanted, params=self._parameters(wanted)
            )
            scores_QK[part], rows_QK[part] = _rank(
                queries_QD[part], candidates_BC, self._vectors_ND, k
            )
        return scores_QK, rows_QK

    def write(self, path: Path) -> None:
        """Write the structure, without the vectors, to a file."""
        faiss.write_index(self._structure, str(path))

    @classmethod
    def read(cls, path: Path, vectors_ND: np.ndarray, kind: ApproximateKind) -> ApproximateSearch:
        """Read what `write` wrote, memory-mapped where faiss can.

        faiss trusts the file: check its digest first.
        """
        mapped = getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP)
        return cls(faiss.read_index(str(path), mapped), vectors_ND, kind)

    def _add(self, rows_M: np.ndarray, report: Report) -> None:
        for rows_B in _blocks(rows_M):
            block_BD = np.ascontiguousarray(self._vectors_ND[rows_B], dtype=np.float32)
            self._structure.add_with_ids(block_BD, rows_B)
            report.tick(len(rows_B))

    def _measure(self, held_Q: np.ndarray, others_M: np.ndarray) -> Recall:
        """The recall of held-out vectors among the others.

        A neighbour that scores no less than the last true one is one: among equals any will do.
        """
        queries_QD = np.asarray(self._vectors_ND[held_Q], dtype=np.float32)
        # an exact search of a memory-mapped file would copy all others; blocks need less memory
        best_QK = np.full((len(held_Q), RECALL_K), -np.inf, np.float32)
        for rows_B in _blocks(others_M, 8 * _BLOCK):
            scores_QK, _ = ExactSearch(self._vectors_ND[rows_B]).search(queries_QD, RECALL_K)
            best_QK = -np.sort(-np.concatenate([best_QK, scores_QK], axis=1))[:, :RECALL_K]
        found_QK, _ = self.search(queries_QD, RECALL_K)
        recall = float((found_QK >= best_QK[:, -1:]).mean())
        return Recall(k=RECALL_K, queries=len(held_Q), recall=recall)

    def _parameters(self, candidates: int) -> Any:
        if self._kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=max(64, 2 * candidates))
        return faiss.SearchParametersIVF(nprobe=max(8, self._structure.nlist // 16))


def _candidates(kind: ApproximateKind, k: int) -> int:
    """Rows to propose for k neighbours: codes of 8 bits order them only roughly."""
    return k + 16 if kind == "hnsw" else max(100, 10 * k)


def _empty(kind: ApproximateKind, vectors_ND: np.ndarray) -> Any:
    """A structure without rows; that of "ivfpq" is trained."""
    count, dim = vectors_ND.shape
    if kind == "hnsw":
        structure = faiss.index_factory(dim, "IDMap,HNSW32", faiss.METRIC_INNER_PRODUCT)
        faiss.downcast_index(structure.index).hnsw.efConstruction = 100
        return structure
    lists = max(1, min(int(4 * math.sqrt(count)), count // _TRAINED_ON, _MAX_CENTROIDS))
    factory = f"IVF{lists},PQ{_parts(dim)}np"  # np: without a training for codes that are not used
    structure = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    wanted = min(count, _TRAINED_ON * max(lists, 256))
    sample_S = np.sort(np.random.default_rng(1).choice(count, wanted, replace=False))
    structure.train(np.ascontiguousarray(vectors_ND[sample_S], dtype=np.float32))
    return structure


def _parts(dim: int) -> int:
    """Into how many parts a vector is cut, each of which is kept as one byte.

    They must be equally long; two numbers a part keep an eighth of float32's bytes.

    >>> _parts(64), _parts(768), _parts(13)
    (32, 384, 1)
    """
    return max(parts for parts in range(1, max(1, dim // 2) + 1) if dim % parts == 0)


def _rank(
    queries_BD: np.ndarray, candidates_BC: np.ndarray, vectors_ND: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best candidates by float64 score, then by row; -1 is no candidate and comes last."""
    found_BCD = vectors_ND[candidates_BC]  # of -1, the last row: its score is overwritten
    scores_BC = (queries_BD[:, None].astype(np.float64) * found_BCD).sum(axis=2)
    scores_BC[candidates_BC < 0] = -np.inf
    order_BK = np.lexsort((candidates_BC, -scores_BC))[:, :k]
    scores_BK = np.take_along_axis(scores_BC, order_BK, axis=1).astype(np.float32)
    rows_BK = np.take_along_axis(candidates_BC, order_BK, axis=1)
    room = ((0, 0), (0, k - order_BK.shape[1]))
    return (
        np.pad(scores_BK, room, constant_values=-np.inf),
        np.pad(rows_BK, room, constant_values=-1),
    )


def _blocks(rows: np.ndarray, size: int = _BLOCK) -> Iterator[np.ndarray]:
    return (rows[start : start + size] for start in range(0, len(rows), size))

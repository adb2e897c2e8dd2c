"""Approximate neighbours against exact ones."""

from __future__ import annotations

import numpy as np
import pytest

from udonx.evaluation.knn import ExactSearch
from udonx.search.approximate import ApproximateSearch


def _clustered(count: int, dim: int = 16) -> np.ndarray:
    """Unit vectors around 50 centres, float32 [count, dim]."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((50, dim))
    vectors = centres[rng.integers(0, 50, count)] + 0.5 * rng.standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("kind", "count"), [("hnsw", 2000), ("ivfpq", 10_000)])
def test_recall_is_that_of_the_search(kind, count):
    """The recall that is reported is near what a brute-force comparison of other queries gives."""
    vectors = _clustered(count + 200)
    index, queries = vectors[200:], vectors[:200]
    search, recall = ApproximateSearch.build(kind, index)
    scores, rows = search.search(queries, 10)
    true_scores, true_rows = ExactSearch(index).search(queries, 10)
    share = np.mean([len({*a} & {*b}) / 10 for a, b in zip(rows, true_rows, strict=True)])
    assert recall.k == 10 and recall.queries == min(1000, count // 10)
    assert share > 0.9 and recall.recall == pytest.approx(share, abs=0.03)
    same = rows == true_rows
    assert np.array_equal(scores[same], true_scores[same])  # scores are exact to the bit


@pytest.mark.parametrize(
    ("kind", "count", "dtype"), [("hnsw", 1000, np.float32), ("ivfpq", 10_000, np.float16)]
)
def test_a_structure_is_read_as_it_was_written(tmp_path, kind, count, dtype):
    """What was written finds the same after reading; every vector finds itself first."""
    vectors = _clustered(count).astype(dtype)
    built, _ = ApproximateSearch.build(kind, vectors)
    built.write(tmp_path / "structure")
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    read = ApproximateSearch.read(tmp_path / "structure", mapped, kind)
    for before, after in zip(
        built.search(vectors[:50], 3), read.search(vectors[:50], 3), strict=True
    ):
        assert np.array_equal(before, after)
    assert (read.search(vectors[:50], 3)[1][:, 0] == np.arange(50)).mean() > 0.95


def test_fewer_rows_than_neighbours():
    """Where a structure finds fewer rows than asked for, the rest is (-inf, -1)."""
    vectors = _clustered(1000)
    search, _ = ApproximateSearch.build("hnsw", vectors)
    scores, rows = search.search(vectors[:2], 1003)
    assert (rows[:, 1000:] == -1).all() and np.isneginf(scores[:, 1000:]).all()

import tracemalloc

import numpy as np
import pytest
import torch

from udonx.evaluation import knn
from udonx.evaluation.knn import search


def brute_force(queries, index, k):
    """Slow oracle: one pair at a time in float64, then a stable sort."""
    rows = np.full((len(queries), k), -1)
    scores = np.full((len(queries), k), -np.inf)
    for q, query in enumerate(queries.astype(np.float64)):
        all_scores = np.array([(query * item).sum() for item in index.astype(np.float64)])
        best = sorted(range(len(index)), key=lambda row: (-all_scores[row], row))[:k]
        rows[q, : len(best)] = best
        scores[q, : len(best)] = all_scores[best]
    return scores.astype(np.float32), rows


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("batch", [3, 4096])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_equals_brute_force_with_many_exact_duplicates(k, batch):
    """Rows and scores are those of a brute-force search, with every vector repeated many times in
    shuffled places.
    """
    rng = np.random.default_rng(0)
    index = np.repeat(unit(rng.normal(size=(40, 17))), rng.integers(1, 15, size=40), axis=0)
    index = index[rng.permutation(len(index))]
    queries = np.concatenate([index[:20], unit(rng.normal(size=(20, 17)))])
    scores, rows = search(queries, index, k, batch=batch)
    expected_scores, expected_rows = brute_force(queries, index, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-6)


def test_ties_between_different_vectors_across_the_boundary():
    """Different vectors with one score are ordered by row even where hundreds of them straddle rank
    k.
    """
    rng = np.random.default_rng(1)
    index = rng.integers(-1, 2, size=(700, 6)).astype(np.float32)
    queries = rng.integers(-1, 2, size=(30, 6)).astype(np.float32)
    assert len(np.unique(index, axis=0)) > 400
    np.testing.assert_array_equal(search(queries, index, 5)[1], brute_force(queries, index, 5)[1])


def test_rounding_in_float32_does_not_break_ties():
    """Hundreds of vectors whose scores are equal, but not when summed in float32, are ordered by
    row.
    """
    rng = np.random.default_rng(2)
    values = rng.uniform(0.5, 1, size=48).astype(np.float32)
    index = np.stack([rng.permutation(values) for _ in range(600)])
    queries = np.ones((1, 48), dtype=np.float32)
    assert len(np.unique([sum(row.tolist(), np.float32(0)) for row in index])) > 1
    assert search(queries, index, 5)[1].tolist() == [[0, 1, 2, 3, 4]]


def test_collapsed_index_returns_the_first_rows():
    """If all embeddings are equal, the neighbours of every query are rows 0 to k - 1."""
    collapsed = unit(np.ones((3000, 33)))
    assert (search(collapsed, collapsed, 6)[1] == np.arange(6)).all()


def test_negative_zero_equals_zero():
    """A vector that differs only in the sign of a zero counts as a duplicate."""
    index = np.array([[-0.0, 1.0], [0.0, 1.0], [-0.0, 1.0]], dtype=np.float32)
    assert search(np.array([[1.0, 1.0]], dtype=np.float32), index, 2)[1].tolist() == [[0, 1]]


def test_rows_that_share_a_hash_by_chance_stay_apart(monkeypatch):
    """Rows are equal where their values are, whatever their hashes say."""
    rng = np.random.default_rng(3)
    index = rng.integers(-1, 2, size=(300, 4)).astype(np.float32)
    queries = rng.integers(-1, 2, size=(20, 4)).astype(np.float32)
    for bits in (0, 1, 4):
        few = np.uint64(2**bits)
        monkeypatch.setattr(
            knn,
            "_hashes",
            lambda rows, few=few: np.floor(rows.sum(axis=1) + 10).astype(np.uint64) % few,
        )
        np.testing.assert_array_equal(
            search(queries, index, 5)[1], brute_force(queries, index, 5)[1]
        )


@pytest.mark.parametrize(("repeats", "most"), [(False, 0.5), (True, 1.5)])
def test_an_index_is_not_copied(repeats, most):
    """A search takes little memory beside the index it is given; where rows repeat, one more
    matrix.
    """
    index = np.random.default_rng(4).standard_normal((40_000, 128), dtype=np.float32)
    if repeats:
        index[20_000] = index[0]
    tracemalloc.start()
    try:
        search(index[:50], index, 6)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most * index.nbytes


def test_pads_beyond_the_index():
    """With fewer than k rows the rest is row -1 with score -inf; an empty index gives nothing but
    padding.
    """
    scores, rows = search(np.eye(3), np.eye(3)[:2], 4)
    assert (rows[:, 2:] == -1).all() and np.isneginf(scores[:, 2:]).all()
    scores, rows = search(np.eye(3), np.empty((0, 3)), 4)
    assert (rows == -1).all() and np.isneginf(scores).all()
    assert search(np.empty((0, 3)), np.eye(3), 4)[1].shape == (0, 4)


def test_accepts_half_precision_tensors():
    """bfloat16 and float16 tensors are searched as float32."""
    for dtype in (torch.bfloat16, torch.float16):
        assert search(torch.eye(3, dtype=dtype), torch.eye(3, dtype=dtype), 1)[
            1
        ].ravel().tolist() == [0, 1, 2]


def test_widening_is_bounded(monkeypatch):
    """With more near-ties than the candidate limit the search still ends and returns k rows of the
    best score.
    """
    monkeypatch.setattr(knn, "_MOST_CANDIDATES", 32)
    angles = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    index = np.stack([np.cos(angles), np.sin(angles), np.ones(500)], axis=1).astype(np.float32)
    scores, rows = search(np.array([[0.0, 0.0, 1.0]], dtype=np.float32), index, 5)
    assert (scores == 1).all() and len(set(rows[0].tolist())) == 5


def test_batches_are_the_whole_search():
    """One batch after the other gives what the search of all queries gives."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, 3, (60, 4)).astype(np.float32)
    queries = rng.integers(0, 3, (10, 4)).astype(np.float32)
    scores, rows = search(queries, index, 40)
    parts = list(knn.search_batches(queries, index, 40, batch=4))
    assert [(part.start, part.stop) for part, _, _ in parts] == [(0, 4), (4, 8), (8, 10)]
    np.testing.assert_array_equal(np.concatenate([part for _, part, _ in parts]), scores)
    np.testing.assert_array_equal(np.concatenate([part for _, _, part in parts]), rows)


def test_a_deep_search_among_repeated_rows_needs_little_memory():
    """A row that is there 600 times does not make room for 600 rows behind every candidate."""
    rng = np.random.default_rng(0)
    index = rng.standard_normal((1200, 8), dtype=np.float32)
    index[::2] = index[0]
    queries = rng.standard_normal((200, 8), dtype=np.float32)
    tracemalloc.start()
    try:
        scores, rows = search(queries, index, 500)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    exact = queries.astype(np.float64) @ index.T.astype(np.float64)
    # sums of float64 products, in whatever order
    np.testing.assert_allclose(scores, np.sort(exact, axis=1)[:, :-501:-1], atol=1e-5)
    assert peak < 100e6 and all(len(set(row)) == 500 for row in rows.tolist())


@pytest.mark.parametrize(
    ("queries", "index", "k", "message"),
    [
        (np.eye(2), np.eye(3), 1, "same width, got 2 and 3"),
        (
            np.eye(2),
            np.full((2, 2), np.nan),
            1,
            "index holds NaN or infinity in 2 of 2 rows, first in row 0",
        ),
        (np.eye(2, dtype=int), np.eye(2), 1, "queries must be a matrix of floats"),
        (np.ones(2), np.eye(2), 1, "queries must be a matrix of floats"),
        (np.eye(2), np.eye(2), 0, "at least 1"),
    ],
)
def test_bad_input_is_one_sentence(queries, index, k, message):
    """What cannot be searched raises ValueError that says what was got."""
    with pytest.raises(ValueError, match=message):
        search(queries, index, k)

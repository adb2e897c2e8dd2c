"""neighbours.npz on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from udonx.evaluation.metrics import retrieval_metrics
from udonx.evaluation.protocol import ProtocolResult
from udonx.store.neighbours import NeighboursError
from udonx.store.results import Results

DAMAGES = [
    (lambda file: file.unlink(), "missing"),
    (lambda file: file.write_bytes(file.read_bytes()[:99]), "unreadable"),
]


def evaluated() -> ProtocolResult:
    """Two domains searched in both indexes, with the names of real files."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 4)).astype(np.float32)
    ids = [f"{'ab'[number % 2]}/{number}, été 中.png" for number in range(20)]
    sides = (x, rng.integers(0, 3, 20), [name[0] for name in ids])

    def found(own: bool):
        return retrieval_metrics(
            *sides, *sides, query_ids=ids, index_ids=ids, own_domain_only=own, neighbours=5
        )

    return ProtocolResult(merged=found(False), own=found(True))


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Results, ProtocolResult]:
    """A results folder with one evaluation, "e"."""
    results, result = Results(tmp_path), evaluated()
    results.write_evaluation("e", result, {"stages": {"a": "s", "b": "s"}})
    return results, result


@pytest.mark.parametrize("index", ["merged", "own"])
def test_neighbours_come_back_as_they_were_found(stored, index):
    """Positions, scores, relevance and names, in the order of the queries."""
    results, result = stored
    read, found = results.read_neighbours("e", index), getattr(result, index).per_query.neighbours
    np.testing.assert_array_equal(read.rows_QK, found.rows_QK)
    np.testing.assert_array_equal(read.scores_QK, found.scores_QK)
    np.testing.assert_array_equal(read.relevant_QK, found.relevant_QK)
    assert read.images == tuple(found.ids_N)


@pytest.mark.parametrize(("damage", "why"), DAMAGES)
def test_an_evaluation_is_whole_without_its_neighbours(stored, damage, why):
    """One of an earlier version, or whose file is damaged, is not made again; the reason that there
    are none is said.
    """
    results, _ = stored
    damage(results.evaluation("e") / "neighbours.npz")
    assert results.has_evaluation("e")
    with pytest.raises(NeighboursError, match=why):
        results.read_neighbours("e", "merged")


def test_neighbours_of_another_search_are_refused(stored):
    """Where an earlier version made the evaluation again, it left the old neighbours there."""
    results, _ = stored
    file = results.evaluation("e") / "per_query.npz"
    arrays = dict(np.load(file))
    np.savez_compressed(file, **{**arrays, "merged_hit": ~arrays["merged_hit"]})
    with pytest.raises(NeighboursError, match="another search"):
        results.read_neighbours("e", "merged")
    assert len(results.read_neighbours("e", "own").rows_QK) == 20


def test_run_keeps_five_neighbours_of_every_query(smoke_run):
    """They are right where the query's hit is, best first, and never the query itself;
    per_query.npz holds nothing of them.
    """
    results = Results(smoke_run.results)
    (identity,) = smoke_run.table.row("udon").evaluations
    hit_Q = results.read_queries(identity, "merged").hit_Q
    found = results.read_neighbours(identity, "merged")
    assert found.rows_QK.shape == (len(hit_Q), 5) and (found.rows_QK >= 0).all()
    np.testing.assert_array_equal(found.relevant_QK[:, 0], hit_Q)
    assert (np.diff(found.scores_QK, axis=1) <= 0).all()
    queries = results.read_queries(identity, "merged").read("id")
    assert all(
        found.images[row] != query
        for query, rows in zip(queries.tolist(), found.rows_QK.tolist(), strict=True)
        for row in rows
    )
    arrays = np.load(results.evaluation(identity) / "per_query.npz").files
    assert not any("rows" in name or "scores" in name for name in arrays)

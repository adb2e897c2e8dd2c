"""The shipped metrics against their definitions, and what a metric must be to be registered."""

from __future__ import annotations

import numpy as np
import pytest

from registry import metrics
from registry.registry import RegistryError


def rankings(seed: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rankings: relevant_QK bool [50, depth], and counts that they do not contradict."""
    rng = np.random.default_rng(seed)
    relevant_QK = rng.random((50, depth)) < rng.random((50, 1))
    return relevant_QK, relevant_QK.sum(axis=1) + rng.integers(0, 2, 50)


def slow(name: str, relevant: list[bool], count: int) -> float:
    """The definition of a metric for one query, rank by rank from 1."""
    right = [rank for rank, is_relevant in enumerate(relevant, 1) if is_relevant]
    if name in ("r1", "r5"):
        return float(any(rank <= int(name[1:]) for rank in right))
    if name == "mmp5":
        return sum(rank <= min(5, count) for rank in right) / min(5, count) if count else 0.0
    if name == "map_r":
        precisions = [place / rank for place, rank in enumerate(right, 1) if rank <= count]
        return sum(precisions) / count if count else 0.0
    return 1 / right[0] if right and right[0] <= 100 else 0.0


@pytest.mark.parametrize("name", ["r1", "r5", "mmp5", "map_r", "mrr"])
@pytest.mark.parametrize("seed", range(3))
def test_a_metric_is_its_definition(name: str, seed: int) -> None:
    """Each query has the value that its definition, counted rank by rank, gives."""
    metric = metrics.get(name)()
    relevant_QK, count_Q = rankings(seed, depth=120)
    values_Q = metric(relevant_QK, count_Q)
    expected = [
        slow(name, row.tolist(), int(n)) for row, n in zip(relevant_QK, count_Q, strict=True)
    ]
    assert values_Q.dtype == np.float64 and 0 < values_Q.mean() < 1
    np.testing.assert_allclose(values_Q, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["r1", "r5", "mmp5", "map_r", "mrr"])
def test_a_query_without_relevant_items_counts_with_zero(name: str) -> None:
    """Nothing is divided by zero."""
    metric = metrics.get(name)()
    assert metric(np.zeros((1, metric.depth or 3), dtype=bool), np.zeros(1, dtype=int)) == [0.0]


class Complete:
    """Everything that a metric needs."""

    label, depth = "all", 3

    def __call__(self, relevant_QK: np.ndarray, relevant_Q: np.ndarray) -> np.ndarray:
        return relevant_QK.all(axis=1)


class WithOption(Complete):
    """It could never be set."""

    def __init__(self, *, depth: int = 3) -> None:
        self.depth = depth


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (type("Unlabelled", (Complete,), {"label": ""}), "needs a label"),
        (type("Shallow", (Complete,), {"depth": 0}), "needs a depth"),
        (type("One", (Complete,), {"__call__": lambda self, relevant: relevant}), "takes 1 argu"),
        (WithOption, "has no options"),
        (lambda relevant_QK, relevant_Q: relevant_QK, "takes the positional parameters"),
        (type("Uncallable", (), {"label": "x", "depth": 1}), "is a class with"),
    ],
)
def test_what_is_no_metric_is_refused_at_registration(target: type, message: str) -> None:
    """One sentence says what is missing."""
    with pytest.raises(RegistryError, match=message):
        metrics.register("refused")(target)
    assert "refused" not in metrics.names()


@pytest.mark.parametrize("name", ["per_domain", "queries", "hit", "a metric"])
def test_a_name_that_files_use_otherwise_is_refused(name: str) -> None:
    """Metrics are keys of metrics.json and parts of a CSV's header."""
    with pytest.raises(RegistryError, match="cannot be the name of a metric"):
        metrics.register(name)(Complete)

"""Rows compared by the stored hits of each query: paired by seed, domain and id; what is wrong with
a file costs its intervals only.
"""

from __future__ import annotations

import io
from pathlib import Path

import attrs
import numpy as np
import pytest

from udonx.evaluation.metrics import DomainMetrics, PerQuery, RetrievalMetrics
from udonx.evaluation.protocol import ProtocolResult
from udonx.store.results import Results, StoredQueries
from udonx.tables.bootstrap import mean_difference, paired_interval
from udonx.tables.compare import Comparisons
from udonx.tables.content import MMP5, Difference
from udonx.tables.groups import common_seeds

SIZES = {"cars": 30, "birds": 50}


@attrs.define
class Row:
    """What of a table's row is compared."""

    label: str
    seeds: tuple[int | None, ...]
    per_seed: dict[str, tuple[float, ...]]
    evaluations: tuple[str, ...]
    index: str = "merged"
    reference: bool = False
    backbone: str = "main"


def draw(generator: int, rate: float = 0.5) -> dict[str, np.ndarray]:
    """Hits of each domain's queries."""
    rng = np.random.default_rng(generator)
    return {domain: rng.random(size) < rate for domain, size in SIZES.items()}


def write(
    results: Results,
    identity: str,
    hits: dict[str, np.ndarray],
    *,
    shuffle: int | None = None,
    own_only: bool = False,
) -> dict[str, float]:
    """Store an evaluation with these hits, its queries in another order with `shuffle`; returns the
    means of its metrics.
    """
    domains = np.array([domain for domain, hit_Q in hits.items() for _ in hit_Q])
    # the same numbers in every domain: an id alone does not say which query it is
    ids = np.array([f"{number}.png" for hit_Q in hits.values() for number in range(len(hit_Q))])
    order_Q = (
        np.arange(len(ids))
        if shuffle is None
        else np.random.default_rng(shuffle).permutation(len(ids))
    )
    values = {
        metric: np.concatenate([values_of(metric, hit) for hit in hits.values()])[order_Q]
        for metric in ("r1", "mmp5")
    }
    per_query = PerQuery(domains[order_Q], values, np.ones(len(ids), dtype=int), ids[order_Q])
    per_domain = {
        domain: DomainMetrics(
            {metric: float(values_of(metric, hit).mean()) for metric in values}, queries=len(hit)
        )
        for domain, hit in hits.items()
    }
    means = {
        metric: float(np.mean([domain.means[metric] for domain in per_domain.values()]))
        for metric in values
    }
    metrics = RetrievalMetrics(means, per_domain, per_query)
    results.write_evaluation(
        identity, ProtocolResult(merged=None if own_only else metrics, own=metrics), {"stages": {}}
    )
    return means


def values_of(metric: str, hit_Q: np.ndarray) -> np.ndarray:
    """The values of a domain's queries: R@1 are the hits, mMP@5 follows them and the number."""
    return hit_Q * (1.0 if metric == "r1" else (np.arange(len(hit_Q)) % 5 + 1) / 5)


def store(
    results: Results,
    label: str,
    hits: dict[int | None, dict[str, np.ndarray]],
    **options: int | bool,
) -> Row:
    """Store a row with these hits per seed."""
    evaluations = {seed: f"{label}-{seed}" for seed in hits}
    means = [write(results, evaluations[seed], hit, **options) for seed, hit in hits.items()]
    index = "own" if options.get("own_only") else "merged"
    return Row(
        label=label,
        seeds=tuple(hits),
        per_seed={metric: tuple(one[metric] for one in means) for metric in ("r1", "mmp5")},
        evaluations=tuple(evaluations.values()),
        index=index,
    )


def expected(
    ours: list[dict[str, np.ndarray]], theirs: list[dict[str, np.ndarray]], metric: str = "r1"
) -> tuple[float, tuple[float, float]]:
    """The difference and interval of hits that stand in the same order: domains by their names, as
    files are read.
    """
    differences = [
        np.array(
            [
                values_of(metric, mine[domain]) - values_of(metric, other[domain])
                for mine, other in zip(ours, theirs, strict=True)
            ]
        )
        for domain in sorted(SIZES)
    ]
    if metric == "r1":
        differences = [domain_SQ.astype(int) for domain_SQ in differences]
    return mean_difference(differences), paired_interval(differences)


def same(found: Difference | None, wanted: tuple) -> bool:
    """Equal but for rounding."""
    assert found is not None
    return found.point == pytest.approx(wanted[0]) and found.interval == pytest.approx(wanted[1])


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """An empty results folder."""
    return Results(tmp_path)


def test_rows_are_compared_over_their_common_seeds(results):
    """Seeds are paired by number, whatever their order; a seed that only one row has is left out of
    difference and interval.
    """
    ours, theirs = (
        {seed: draw(seed, 0.7) for seed in (0, 1, 2)},
        {seed: draw(10 + seed) for seed in (2, 1, 5)},
    )
    row, first = store(results, "ours", ours), store(results, "theirs", theirs)
    comparisons = Comparisons(results)
    assert same(
        comparisons.compare(row, first), expected([ours[1], ours[2]], [theirs[1], theirs[2]])
    )
    assert common_seeds(row, first) == 2 and comparisons.notes() == []


def test_without_a_common_seed_nothing_is_compared(results):
    """Neither a difference nor an interval, and no file is missed."""
    row, first = store(results, "ours", {0: draw(0)}), store(results, "theirs", {1: draw(1)})
    comparisons = Comparisons(results)
    assert comparisons.compare(row, first) is None and comparisons.notes() == []


@pytest.mark.parametrize("own_only", [False, True])
def test_queries_are_paired_by_domain_and_id(results, own_only):
    """A file that holds the same queries in another order gives the same interval, from the hits of
    the row's own index.
    """
    ours, theirs = [draw(0, 0.7), draw(1, 0.7)], [draw(2), draw(3)]
    row = store(results, "ours", dict(enumerate(ours)), shuffle=4, own_only=own_only)
    first = store(results, "theirs", dict(enumerate(theirs)), own_only=own_only)
    assert same(Comparisons(results).compare(row, first), expected(ours, theirs))
    assert same(Comparisons(results).compare(first, row), expected(theirs, ours))


def test_a_row_without_a_seed_is_the_same_for_every_seed(results):
    """A deterministic row is paired with each seed of the other, in both directions; two of them
    leave only the queries.
    """
    trained, fixed, other = {seed: draw(seed, 0.7) for seed in (0, 1, 2)}, draw(5), draw(6)
    row, start, pca = (
        store(results, "ours", trained),
        store(results, "start", {None: fixed}),
        store(results, "pca", {None: other}),
    )
    comparisons = Comparisons(results)
    assert same(comparisons.compare(row, start), expected(list(trained.values()), [fixed] * 3))
    assert same(comparisons.compare(start, row), expected([fixed] * 3, list(trained.values())))
    assert same(comparisons.compare(pca, start), expected([other], [fixed]))
    assert (common_seeds(row, start), common_seeds(start, row), common_seeds(pca, start)) == (
        3,
        3,
        0,
    )


def test_each_file_is_read_once(results, monkeypatch):
    """Three rows against the first: its files and theirs are read once each, and names of queries
    never where their checksums agree.
    """
    rows = [
        store(results, f"row {number}", {seed: draw(10 * number + seed) for seed in (0, 1)})
        for number in range(4)
    ]
    opened, names = [], []
    read_queries, getitem = Results.read_queries, np.lib.npyio.NpzFile.__getitem__

    def watched_queries(self: Results, identity: str, index: str) -> StoredQueries:
        opened.append(identity)
        return read_queries(self, identity, index)

    def watched_array(self: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
        names.append(name)
        return getitem(self, name)

    monkeypatch.setattr(Results, "read_queries", watched_queries)
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", watched_array)
    comparisons = Comparisons(results)
    for row in rows[1:]:
        comparisons.compare(row, rows[0])
    assert sorted(opened) == sorted(evaluation for row in rows for evaluation in row.evaluations)
    assert sorted(names) == ["domain"] + ["merged_hit"] * 8


def test_every_metric_is_compared_by_its_own_values(results):
    """mMP@5's difference and interval come from its stored values, paired as the hits are."""
    ours, theirs = [draw(0, 0.7), draw(1, 0.7)], [draw(2), draw(3)]
    row = store(results, "ours", dict(enumerate(ours)), shuffle=4)
    first = store(results, "theirs", dict(enumerate(theirs)))
    comparisons = Comparisons(results)
    assert same(comparisons.compare(row, first, MMP5), expected(ours, theirs, "mmp5"))
    assert same(comparisons.compare(row, first), expected(ours, theirs))
    assert comparisons.notes() == []


def test_a_metric_that_a_row_lacks_is_not_compared(results):
    """A row evaluated before the metric was asked for has no difference in it."""
    row, first = store(results, "ours", {0: draw(0)}), store(results, "theirs", {0: draw(1)})
    del first.per_seed["mmp5"]
    comparisons = Comparisons(results)
    assert comparisons.compare(row, first, MMP5) is None and comparisons.notes() == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: rewrite(file, merged_mmp5=None), "unreadable"),
        (lambda file: rewrite(file, merged_mmp5=arrays(file)["merged_mmp5"][1:]), "unreadable"),
        (lambda file: rewrite(file, merged_mmp5=arrays(file)["id"]), "unreadable"),
        (lambda file: rewrite(file, merged_mmp5=np.full(80, np.nan)), "unreadable"),
        (
            lambda file: rewrite(file, merged_mmp5=arrays(file)["merged_mmp5"] / 2),
            "its values do not give its mMP@5",
        ),
    ],
)
def test_values_that_cannot_be_used_cost_the_interval_of_their_metric_only(results, change, reason):
    """R@1 keeps its interval; the sentence names the row, the metric and the evaluation."""
    row, first = store(results, "ours", {0: draw(0)}), store(results, "theirs", {0: draw(1)})
    change(results.evaluation("ours-0") / "per_query.npz")
    comparisons = Comparisons(results)
    assert comparisons.compare(row, first).interval is not None
    point, _ = expected([draw(0)], [draw(1)], "mmp5")
    assert comparisons.compare(row, first, MMP5) == Difference(point=pytest.approx(point))
    (note,) = comparisons.notes()
    assert note.startswith(
        "no interval for ours (mMP@5), for want of per-query results: ours, seed 0"
        f" (evaluations/ours-0: {reason}); remove this folder"
    )


def arrays(file: Path) -> dict[str, np.ndarray]:
    """What a per_query.npz holds."""
    with np.load(file) as stored:
        return dict(stored)


def rewrite(file: Path, **changes: np.ndarray | None) -> None:
    """Write a per_query.npz again with other arrays, or without those that are None."""
    np.savez_compressed(
        file,
        **{name: array for name, array in (arrays(file) | changes).items() if array is not None},
    )


def npy_bytes() -> bytes:
    """A file of one array, which np.load opens too."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


OTHERS = "its queries are not those of theirs-0"
DAMAGES = {
    "missing": (lambda file: file.unlink(), "missing"),
    "empty": (lambda file: file.write_bytes(b""), "unreadable"),
    "no archive": (lambda file: file.write_text("hello"), "unreadable"),
    "one array": (lambda file: file.write_bytes(npy_bytes()), "unreadable"),
    "half": (
        lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
        "unreadable",
    ),
    "no hits": (lambda file: rewrite(file, merged_hit=None), "unreadable"),
    "no ids": (lambda file: rewrite(file, id=None), "unreadable"),
    "hits that are no hits": (
        lambda file: rewrite(file, merged_hit=arrays(file)["merged_mmp5"]),
        "unreadable",
    ),
    "pickles": (
        lambda file: rewrite(file, merged_hit=arrays(file)["merged_hit"].astype(object)),
        "unreadable",
    ),
    "too few hits": (
        lambda file: rewrite(file, merged_hit=arrays(file)["merged_hit"][1:]),
        "unreadable",
    ),
    "another query": (
        lambda file: rewrite(file, id=np.array(["new.png", *arrays(file)["id"][1:]])),
        "its queries are not those of theirs-0",
    ),
    "another domain": (lambda file: rewrite(file, domain=arrays(file)["domain"][::-1]), OTHERS),
    "other hits": (
        lambda file: rewrite(file, merged_hit=~arrays(file)["merged_hit"]),
        "its hits do not give its R@1",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_cannot_be_used_costs_the_interval_only(results, damage):
    """The difference stays; one sentence says which row lacks its interval, which evaluation is to
    blame, and what to do.
    """
    ours, theirs = (
        {seed: draw(seed, 0.7) for seed in (0, 1)},
        {seed: draw(10 + seed) for seed in (0, 1)},
    )
    row, other, first = (
        store(results, "ours", ours),
        store(results, "other", {0: draw(20)}),
        store(results, "theirs", theirs),
    )
    hurt, reason = DAMAGES[damage]
    hurt(results.evaluation("ours-1") / "per_query.npz")
    comparisons = Comparisons(results)
    point, _ = expected(list(ours.values()), list(theirs.values()))
    assert comparisons.compare(row, first) == Difference(point=pytest.approx(point))
    assert comparisons.compare(other, first).interval is not None
    (note,) = comparisons.notes()
    assert note.startswith(
        "no interval for ours, for want of per-query results: ours, seed 1 (evaluations/ours-1:"
        f" {reason}); remove this "
    )
    assert "run again with the same seeds" in note


def test_a_first_row_that_cannot_be_used_is_named_once(results):
    """Without the first row's hits no row has an interval: all are named, each file once."""
    rows = [
        store(results, name, {0: draw(number), 1: draw(9 + number)})
        for number, name in enumerate(("theirs", "a", "b"))
    ]
    for seed in (0, 1):
        (results.evaluation(f"theirs-{seed}") / "per_query.npz").unlink()
    comparisons = Comparisons(results)
    assert all(comparisons.compare(row, rows[0]).interval is None for row in rows[1:])
    (note,) = comparisons.notes()
    assert note.startswith(
        "no interval for a, b, for want of per-query results: theirs, seed 0 (evaluations/theirs-0:"
        " missing); theirs, seed 1 "
    )
    assert note.count("theirs, seed") == 2 and "remove these folders" in note


def test_domains_are_compared_one_by_one(results):
    """Each domain has the difference and interval of its own queries; none without their file."""
    ours, theirs = {0: draw(0, 0.8)}, {0: draw(1)}
    row, first = store(results, "ours", ours), store(results, "theirs", theirs)
    found = Comparisons(results).compare_domains(row, first)
    assert list(found) == sorted(SIZES)
    for domain, difference in found.items():
        hits_SQ = ours[0][domain].astype(int)[None] - theirs[0][domain]
        assert same(difference, (mean_difference([hits_SQ]), paired_interval([hits_SQ])))
    (results.evaluation("ours-0") / "per_query.npz").unlink()
    assert Comparisons(results).compare_domains(row, first) == {}

import json
import tracemalloc

import numpy as np
import pytest
import torch

from registry import metrics
from registry.registry import RegistryError
from udonx.evaluation import metrics as module
from udonx.evaluation.metrics import retrieval_metrics

EMBEDDINGS = {"student": "universal_student_embedd", "teacher": "teacher_embedd"}


def slow_oracle(
    queries,
    query_labels,
    query_domains,
    query_ids,
    index,
    index_labels,
    index_domains,
    index_ids,
    own_domain_only,
    k,
):
    """The definitions, one query and one neighbour at a time."""
    hits, precisions, positives = [], [], []
    for q in range(len(queries)):
        labels = set(query_labels[q]) if isinstance(query_labels[q], list) else {query_labels[q]}
        others = [i for i in range(len(index)) if index_ids[i] != query_ids[q]]
        relevant = {
            i for i in others if index_labels[i] in labels and index_domains[i] == query_domains[q]
        }
        pool = [i for i in others if not own_domain_only or index_domains[i] == query_domains[q]]
        scores = {
            i: float((queries[q].astype(np.float64) * index[i].astype(np.float64)).sum())
            for i in pool
        }
        ranked = sorted(pool, key=lambda i: (-scores[i], i))
        n = len(relevant)
        hits.append(bool(ranked) and ranked[0] in relevant)
        precisions.append(sum(i in relevant for i in ranked[: min(k, n)]) / min(k, n) if n else 0.0)
        positives.append(n)
    return np.array(hits), np.array(precisions), np.array(positives)


@pytest.mark.parametrize("own_domain_only", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_slow_oracle(seed, own_domain_only):
    """With duplicates, several labels, shared images, domains without index and labels without
    positives, every query agrees.
    """
    rng = np.random.default_rng(seed)
    shapes = rng.normal(size=(30, 8)).astype(np.float32)
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    n_index = 150
    index = shapes[rng.integers(0, 30, n_index)]
    index_labels = rng.integers(0, 6, n_index).tolist()
    index_domains = rng.choice(["a", "b", "c"], n_index).tolist()
    index_ids = [f"image {i}" for i in rng.integers(0, 120, n_index)]
    shared = rng.permutation(n_index)[:50]
    queries = np.concatenate([index[shared], shapes[rng.integers(0, 30, 40)]])
    query_labels = [[index_labels[i]] for i in shared] + [
        rng.integers(0, 9, rng.integers(1, 4)).tolist() for _ in range(40)
    ]
    query_domains = [index_domains[i] for i in shared] + rng.choice(
        ["a", "b", "c", "no index"], 40
    ).tolist()
    query_ids = [index_ids[i] for i in shared] + [f"query {i}" for i in range(40)]
    result = retrieval_metrics(
        queries, query_labels, query_domains, index, index_labels, index_domains,
        query_ids=query_ids, index_ids=index_ids, own_domain_only=own_domain_only,
    )  # fmt: skip
    hits, precisions, positives = slow_oracle(
        queries,
        query_labels,
        query_domains,
        query_ids,
        index,
        index_labels,
        index_domains,
        index_ids,
        own_domain_only,
        5,
    )
    np.testing.assert_array_equal(result.per_query.hit, hits)
    np.testing.assert_array_equal(result.per_query.mmp5, precisions)
    np.testing.assert_array_equal(result.per_query.positives, positives)
    means = [
        hits[np.array(query_domains) == domain].mean() for domain in dict.fromkeys(query_domains)
    ]
    assert list(result.per_domain) == list(dict.fromkeys(query_domains))
    assert result.r1 == pytest.approx(np.mean(means), abs=1e-12)
    assert ((result.per_query.mmp5 >= 0) & (result.per_query.mmp5 <= 1)).all()


SHIPPED = ("r1", "mmp5", "r5", "map_r", "mrr")


def clusters() -> tuple[np.ndarray, list[int]]:
    """Noisy points around eight centres, of classes of 2 to 60 items."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), [2, 5, 9, 20, 30, 40, 50, 60])
    x = rng.normal(size=(8, 16))[labels] + 1.3 * rng.normal(size=(len(labels), 16))
    return x.astype(np.float32), labels.tolist()


@pytest.mark.parametrize("own_domain_only", [False, True])
def test_kept_neighbours_are_those_of_a_brute_force_search(own_domain_only):
    """Positions, scores and relevance are those of the whole ranking without the query itself;
    where a domain has fewer images than are kept, the rest is -1.
    """
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 8)).astype(np.float32)
    domains = np.array(["a", "b", "c"])[np.repeat([0, 1, 2], [36, 20, 4])]
    rng.shuffle(domains)
    labels = rng.integers(0, 4, 60)
    sides = (x, labels, domains.tolist())
    names = [f"image {number}" for number in range(60)]
    result = retrieval_metrics(
        *sides,
        *sides,
        metrics=["r1"],
        query_ids=names,
        index_ids=names,
        own_domain_only=own_domain_only,
        neighbours=5,
    )
    scores_QQ = x.astype(np.float64) @ x.T.astype(np.float64)
    np.fill_diagonal(scores_QQ, -np.inf)
    same_QQ = domains[:, None] == domains
    if own_domain_only:
        scores_QQ[~same_QQ] = -np.inf
    order_QK = np.argsort(-scores_QQ, axis=1, kind="stable")[:, :5]
    best_QK = np.take_along_axis(scores_QQ, order_QK, axis=1)
    relevant_QQ = same_QQ & (labels[:, None] == labels)
    found = result.per_query.neighbours
    np.testing.assert_array_equal(found.rows_QK, np.where(best_QK > -np.inf, order_QK, -1))
    np.testing.assert_allclose(found.scores_QK, best_QK, rtol=1e-5)
    np.testing.assert_array_equal(
        found.relevant_QK, np.take_along_axis(relevant_QQ, order_QK, axis=1) & (best_QK > -np.inf)
    )
    assert (found.rows_QK.dtype, found.scores_QK.dtype) == (np.int32, np.float32)
    assert found.ids_N[found.rows_QK[0, 0]] == names[order_QK[0, 0]]
    assert (found.rows_QK == -1).any() == own_domain_only


def test_keeping_neighbours_changes_no_figure():
    """A search that is deeper for the sake of neighbours gives the bits of one that keeps none."""
    x, labels = clusters()
    sides = (x, labels, ["a"] * len(x))
    ids = {"query_ids": range(len(x)), "index_ids": range(len(x))}
    without = retrieval_metrics(*sides, *sides, metrics=["r1"], **ids)
    kept = retrieval_metrics(*sides, *sides, metrics=["r1"], neighbours=9, **ids)
    np.testing.assert_array_equal(kept.per_query.values["r1"], without.per_query.values["r1"])
    assert without.per_query.neighbours is None


@pytest.mark.parametrize("neighbours", [2**22, 150])
def test_every_metric_reads_as_deep_as_it_asks(monkeypatch, neighbours):
    """All metrics of one search are those of the whole ranking, also in batches of a few queries;
    R@1 and mMP@5 are the same bits as without the others.
    """
    monkeypatch.setattr(module, "_NEIGHBOURS", neighbours)
    x, labels = clusters()
    sides = (x, labels, ["a"] * len(x))
    ids = {"query_ids": range(len(x)), "index_ids": range(len(x))}
    result = retrieval_metrics(*sides, *sides, metrics=SHIPPED, **ids)
    shallow = retrieval_metrics(*sides, *sides, **ids)
    assert list(result.means) == list(SHIPPED) and list(shallow.means) == ["r1", "mmp5"]
    for name in shallow.means:
        np.testing.assert_array_equal(result.per_query.values[name], shallow.per_query.values[name])
    scores_QQ = x.astype(np.float64) @ x.T.astype(np.float64)
    np.fill_diagonal(scores_QQ, -np.inf)
    order_QK = np.argsort(-scores_QQ, axis=1, kind="stable")[:, :-1]
    relevant_QK = np.array(labels)[order_QK] == np.array(labels)[:, None]
    for name in SHIPPED:
        whole_Q = metrics.get(name)()(relevant_QK, relevant_QK.sum(axis=1))
        np.testing.assert_allclose(result.per_query.values[name], whole_Q, atol=1e-12)
        assert 0 < result.means[name] < 1


class Percent:
    label, depth = "R@1 %", 1

    def __call__(self, relevant_QK, relevant_Q):
        return 100.0 * relevant_QK[:, 0]


class Mean(Percent):
    def __call__(self, relevant_QK, relevant_Q):
        return relevant_QK.mean()


@pytest.mark.parametrize(
    ("metric", "message"),
    [(Percent, "'mine' gave values from 0.0 to 100.0"), (Mean, "'mine' gave an array of shape")],
)
def test_a_metric_that_breaks_its_contract_is_named(monkeypatch, metric, message):
    """A metric of one's own that gives percent, or one number for all queries, is refused."""
    monkeypatch.setattr(metrics, "get", lambda name: metric)
    with pytest.raises(RegistryError, match=message):
        retrieval_metrics(np.eye(2), [0, 1], "aa", np.eye(2), [0, 0], "aa", metrics=["mine"])


@pytest.fixture(scope="module")
def official(shared_dir):
    arrays = np.load(shared_dir / "parity" / "metrics.npz")
    return arrays, json.loads((shared_dir / "parity" / "metrics.json").read_text())["main"]


@pytest.mark.parametrize("index", ["merged", "separate"])
@pytest.mark.parametrize("branch", ["student", "teacher"])
def test_equals_the_official_numbers(official, branch, index):
    """Every query's hit and precision, the domains' means and the rounded averages are those of the
    official code.
    """
    arrays, case = official
    sides = {"query": ([], [], [], []), "index": ([], [], [], [])}
    for domain, about in case["domains"].items():
        for role, (embeddings, labels, domains, ids) in sides.items():
            split = about[f"{role}_split"]
            embeddings.append(arrays[f"main/{domain}/{split}/{EMBEDDINGS[branch]}"])
            labels.extend(about["labels"][split])
            domains.extend([domain] * len(embeddings[-1]))
            ids.extend(f"{domain}/{split}/{i}" for i in range(len(embeddings[-1])))
    query, indexed = (
        (np.concatenate(side[0]), *side[1:]) for side in (sides["query"], sides["index"])
    )
    result = retrieval_metrics(
        *query[:3],
        *indexed[:3],
        query_ids=query[3],
        index_ids=indexed[3],
        own_domain_only=index == "separate",
    )
    for domain in case["domains"]:
        expected = case["per_domain_detail"][f"{index}/{domain}:test/{EMBEDDINGS[branch]}"]
        own = result.per_query.domain == domain
        np.testing.assert_array_equal(
            result.per_query.hit[own], np.array(expected["per_query_correct"], dtype=bool)
        )
        np.testing.assert_array_equal(result.per_query.mmp5[own], expected["per_query_mp"])
        np.testing.assert_array_equal(
            result.per_query.positives[own], expected["per_query_num_true_index_label"]
        )
        assert result.per_domain[domain].r1 == pytest.approx(
            expected["recall_at_1_unrounded"], abs=1e-12
        )
        assert result.per_domain[domain].mmp5 == pytest.approx(
            expected["mmp_at_k_unrounded"], abs=1e-12
        )
        assert result.per_domain[domain].queries == expected["num_query"]
    name = "common" if index == "merged" else "separate"
    averages = case[f"reference_results_{index}"]
    assert result.r1 == pytest.approx(
        averages["knn_results"][EMBEDDINGS[branch]][f"average:{name}:test_knn:top_1"], abs=1.1e-3
    )
    assert result.mmp5 == pytest.approx(
        averages["mp_results"][EMBEDDINGS[branch]][f"average:{name}:test_knn:mp_5"], abs=1.1e-3
    )


def test_collapsed_embedding_stays_within_zero_and_one():
    """If all embeddings are equal, the query is still dropped by identity and no precision is
    negative.
    """
    x = np.ones((40, 4), dtype=np.float32) / 2
    labels, ids = [i // 4 for i in range(40)], list(range(40))
    result = retrieval_metrics(
        x, labels, ["a"] * 40, x, labels, ["a"] * 40, query_ids=ids, index_ids=ids
    )
    assert result.per_query.hit.tolist() == [True] * 4 + [False] * 36
    assert result.per_query.mmp5.min() == 0 and result.per_query.mmp5.max() == 1


def test_label_of_another_domain_does_not_match():
    """The same label number in another domain is another class."""
    result = retrieval_metrics(np.eye(2), [1, 1], ["a", "b"], np.eye(2), [1, 1], ["b", "b"])
    assert result.per_query.hit.tolist() == [
        False,
        True,
    ] and result.per_query.positives.tolist() == [0, 2]


def test_inputs_may_be_tensors_and_integers():
    """Tensors of any float type, integer arrays of labels and integer domains give the same as
    lists.
    """
    x, labels, domains = torch.eye(3, dtype=torch.float16), np.array([1, 1, 2]), np.array([0, 0, 4])
    result = retrieval_metrics(x, torch.tensor(labels), domains, x, labels, domains)
    assert list(result.per_domain) == [0, 4] and result.r1 == 1.0
    assert result.per_query.ids is None and result.per_query.mmp5.dtype == np.float64


def test_without_queries_or_index():
    """No query gives no domain and NaN means; no index gives zeros that count."""
    nothing = retrieval_metrics(np.empty((0, 2)), [], [], np.eye(2), [0, 1], ["a", "a"])
    assert nothing.per_domain == {} and np.isnan(nothing.r1) and np.isnan(nothing.mmp5)
    for own_domain_only in (False, True):
        nothing = {"query_ids": "xy", "index_ids": [], "own_domain_only": own_domain_only}
        empty = retrieval_metrics(
            np.eye(2), [0, 1], ["a", "a"], np.empty((0, 2)), [], [], **nothing
        )
        assert empty.r1 == 0.0 and empty.per_domain["a"].queries == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_labels": [1]}, "query_labels has 1 entries for 2 embeddings"),
        ({"index_ids": ["x"]}, "index_ids has 1 entries"),
        ({"index_labels": [[0], [1, 2]]}, "one label per item, got 2 in row 1"),
        ({"query_labels": [0.5, 1.0]}, "must hold integers"),
        ({"query_labels": ["a", "b"]}, "must hold integers"),
        (
            {"query_embeddings": np.array([[np.nan, 0], [0, 1]])},
            "query_embeddings holds NaN or infinity in 1 of 2 rows",
        ),
        ({"index_embeddings": np.eye(3)[:2]}, "same width, got 2 and 3"),
        ({"metrics": ["r2"]}, "metrics: 'r2' is not registered; registered are"),
    ],
)
def test_bad_input_is_one_sentence(change, message):
    """Lengths that disagree, NaN, several-label index items and labels that are no integers raise
    ValueError.
    """
    good = {
        "query_embeddings": np.eye(2), "query_labels": [0, 1], "query_domains": ["a", "a"],
        "index_embeddings": np.eye(2), "index_labels": [0, 1], "index_domains": ["a", "a"],
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(**(good | change))


@pytest.mark.parametrize("own_domain_only", [False, True])
def test_an_index_is_not_copied(own_domain_only):
    """Neither a merged nor an own-domain search copies an index whose domains stand one after the
    other.
    """
    index = np.random.default_rng(0).standard_normal((40_000, 128), dtype=np.float32)
    labels, domains = np.arange(40_000) % 100, np.arange(40_000) // 20_000
    tracemalloc.start()
    try:
        some = slice(None, None, 1000)
        retrieval_metrics(
            index[some],
            labels[some],
            domains[some],
            index,
            labels,
            domains,
            own_domain_only=own_domain_only,
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.8 * index.nbytes

"""Retrieval metrics over a merged or an own-domain index.

They are pure functions of embeddings, labels and identities. Which metrics there are says
registry/metrics.

Shapes: Q queries, B queries of a batch, N index items, D dimensions, K neighbours.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import attrs
import numpy as np
import torch

from registry import metrics as registered
from registry.contracts import Metric
from registry.registry import RegistryError
from udonx.evaluation.knn import BATCH, as_matrix, search_batches
from udonx.evaluation.neighbours import Neighbours
from udonx.evaluation.relevance import Items, Labels, encode

# Neighbours whose relevance is looked at at once.
_NEIGHBOURS = 2**22
# How far beyond 0 and 1 a metric may come by the rounding of its sums.
_ROUNDING = 1e-9


class Means:
    """Base of what holds `means`: the benchmark's own two figures by names of their own."""

    means: Mapping[str, float]

    @property
    def r1(self) -> float:
        """R@1."""
        return self.means["r1"]

    @property
    def mmp5(self) -> float:
        """mMP@5."""
        return self.means["mmp5"]


@attrs.frozen
class DomainMetrics(Means):
    """Means over one domain's queries.

    Attributes:
        means: fractions by the metric's name.
        queries: how many there are.
    """

    means: dict[str, float]
    queries: int


@attrs.frozen(eq=False)
class PerQuery:
    """One entry per query, in the order of the queries.

    Attributes:
        domain: [Q], as given: text or integers.
        values: float64 [Q] in [0, 1] by the metric's name.
        positives: int64 [Q], relevant items in the index, the query itself left out.
        ids: [Q], as given; None where nothing was given.
        neighbours: the nearest index items; None where none were to be kept.
    """

    domain: np.ndarray
    values: dict[str, np.ndarray]
    positives: np.ndarray
    ids: np.ndarray | None
    neighbours: Neighbours | None = None

    @property
    def hit(self) -> np.ndarray:
        """Whether the nearest neighbour is relevant, bool [Q]: R@1 of each query."""
        return self.values["r1"] == 1

    @property
    def mmp5(self) -> np.ndarray:
        """mMP@5 of each query, float64 [Q]."""
        return self.values["mmp5"]


@attrs.frozen(eq=False)
class RetrievalMetrics(Means):
    """Figures of one search.

    Attributes:
        means: unweighted means over domains, fractions by the metric's name; NaN without a query.
        per_domain: each domain's own, in the order in which they first occur among the queries.
        per_query: each query's own.
    """

    means: dict[str, float]
    per_domain: dict[Hashable, DomainMetrics]
    per_query: PerQuery


def retrieval_metrics(
    query_embeddings: torch.Tensor | np.ndarray,
    query_labels: Labels,
    query_domains: Sequence[Hashable],
    index_embeddings: torch.Tensor | np.ndarray,
    index_labels: Labels,
    index_domains: Sequence[Hashable],
    *,
    metrics: Iterable[str] = registered.DEFAULTS,
    query_ids: Sequence[Hashable] | None = None,
    index_ids: Sequence[Hashable] | None = None,
    own_domain_only: bool = False,
    neighbours: int = 0,
) -> RetrievalMetrics:
    """Compute metrics of every query, of every domain, and their unweighted means over domains.

    An index item is relevant to a query when one of the query's labels is its label AND both are of
    one domain. Items with the query's own id are the query itself: they are dropped wherever they
    rank. A query without a relevant item still counts. Equal scores are ordered by index row.

    One search serves all metrics: it is as deep as the metric that reads most neighbours. No
    metric sees more neighbours than it asks for, so its value does not depend on the others.

    Args:
        query_embeddings: float [Q, D], already L2-normalised where cosine similarity is meant.
        query_labels: Q integers, or Q lists of integers (a query with several correct labels; one
            listed twice counts once).
        query_domains: Q names or integers.
        index_embeddings: float [N, D].
        index_labels: N integers.
        index_domains: N names or integers.
        metrics: names of registered metrics.
        query_ids: Q image names or numbers; without them, or without `index_ids`, nothing is
            dropped.
        index_ids: N image names or numbers.
        own_domain_only: search only the index items of the query's domain (the oracle) instead of
            all (the merged index).
        neighbours: how many nearest index items of each query are kept; 0 for none.

    Returns:
        RetrievalMetrics with `.means[name]`, `.per_domain[domain].means[name]` and `.per_query`.

    Raises:
        ValueError: lengths or widths that disagree, NaN or infinite embeddings, labels that are not
            integers, several labels for one index item.
        RegistryError: a metric that is not registered, or that gives something else than a number
            from 0 to 1 for every query.

    Source: the protocol of UnED (docs/method.md, "Evaluation"). The official code drops the first
    rank without looking, here the query is dropped by identity.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> ids = {"query_ids": "xyz", "index_ids": "xyz"}
        >>> result = retrieval_metrics(x, [7, 7, 8], ["a"] * 3, x, [7, 7, 8], ["a"] * 3, **ids)
        >>> result.per_query.hit.tolist(), result.per_query.positives.tolist()
        ([True, True, False], [1, 1, 0])
    """
    query_QD, index_ND = (
        as_matrix("query_embeddings", query_embeddings),
        as_matrix("index_embeddings", index_embeddings),
    )
    if query_QD.shape[1] != index_ND.shape[1]:
        widths = f"{query_QD.shape[1]} and {index_ND.shape[1]}"
        raise ValueError(
            f"query_embeddings and index_embeddings must have the same width, got {widths}."
        )
    for name, entries, length in (
        ("query_labels", query_labels, len(query_QD)),
        ("query_domains", query_domains, len(query_QD)),
        ("query_ids", query_ids, len(query_QD)),
        ("index_labels", index_labels, len(index_ND)),
        ("index_domains", index_domains, len(index_ND)),
        ("index_ids", index_ids, len(index_ND)),
    ):
        if entries is not None and len(entries) != length:
            raise ValueError(f"{name} has {len(entries)} entries for {length} embeddings.")

    domain_names, domains_Q, domains_N = encode(query_domains, index_domains)
    items = Items.of(query_labels, domains_Q, query_ids, index_labels, domains_N, index_ids)
    own_queries, own_rows = items.own_rows()
    most_own = int(np.bincount(own_queries).max()) if len(own_queries) else 0
    positives_Q = items.count_positives(own_queries, own_rows)
    wanted = _wanted(metrics, most_positives=int(positives_Q.max(initial=1)))
    depth = max(1, neighbours, *(read for _, read in wanted.values()))
    kept = Neighbours.empty(len(query_QD), neighbours, index_ids) if neighbours else None
    values = {name: np.zeros(len(query_QD)) for name in wanted}
    for queries, rows in _searches(domains_Q, domains_N, own_domain_only):
        sides = _take(query_QD, queries), _take(index_ND, rows)
        for part, rows_BK, scores_BK, relevant_BK in _found(
            sides, queries, rows, items, depth, most_own
        ):
            if kept is not None:
                kept.put(part, rows_BK, scores_BK, relevant_BK)
            for name, (metric, read) in wanted.items():
                values[name][part] = _values(name, metric, relevant_BK[:, :read], positives_Q[part])
    per_query = PerQuery(
        domain=np.asarray(query_domains),
        values=values,
        positives=positives_Q,
        ids=None if query_ids is None else np.asarray(list(query_ids)),
        neighbours=kept,
    )
    return _average(per_query, domain_names, domains_Q)


_Wanted = dict[str, tuple[Metric, int]]
"""Metrics by name, each with the number of neighbours that it reads."""


def _found(
    sides: tuple[np.ndarray, np.ndarray],
    queries: np.ndarray,
    rows: np.ndarray,
    items: Items,
    depth: int,
    most_own: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Search in batches and look at the relevance of what is found.

    Args:
        sides: embeddings of the queries and of the index items, float32 [B, D] and [M, D].
        queries: which queries they are, int64 [B].
        rows: which index items they are, int64 [M].
        items: what decides relevance.
        depth: neighbours of each query, K.
        most_own: how many index items at most are one and the same query; they are left out.

    Yields:
        (queries int64 [B], their neighbours int64 [B, K], the scores of these [B, K], whether each
        is relevant, bool [B, K]).
    """
    batch = max(1, min(BATCH, _NEIGHBOURS // depth))
    for part, scores_BK, found_BK in search_batches(*sides, depth + most_own, batch):
        rows_BK = np.where(found_BK >= 0, rows[found_BK], -1) if len(rows) else found_BK
        rows_BK, scores_BK = items.drop_own(rows_BK, scores_BK, queries[part])
        rows_BK, scores_BK = rows_BK[:, :depth], scores_BK[:, :depth]
        relevant_BK = items.relevant(queries[part][:, None], rows_BK)
        yield queries[part], rows_BK, scores_BK, relevant_BK


def version_of(name: str) -> str:
    """Which version of a metric is registered, with the hash of its source where it is a plug-in.

    Raises:
        RegistryError: it is not registered.
    """
    version, source = registered.describe(name).version, registered.registry.source(name)
    return str(version) if source is None else f"{version}+{source.sha256}"


def metric_problem(name: str) -> str | None:
    """What is wrong with a metric, in one sentence: it is called on a few made-up rankings.

    What fails here would fail after the training of the first row.
    """
    try:
        ((metric, depth),) = _wanted([name], most_positives=3).values()
        for relevant in (False, True):
            _values(name, metric, np.full((2, depth), relevant), np.full(2, depth * relevant))
    except RegistryError as error:
        return str(error)
    except Exception as error:  # a plug-in's own code
        return f"metrics: {name!r} cannot be called: {type(error).__name__}: {error}"
    return None


def _wanted(names: Iterable[str], most_positives: int) -> _Wanted:
    found: _Wanted = {}
    for name in names:
        metric = registered.get(name)()
        found[name] = (metric, max(1, most_positives) if metric.depth is None else metric.depth)
    return found


def _values(
    name: str, metric: Metric, relevant_QK: np.ndarray, relevant_Q: np.ndarray
) -> np.ndarray:
    """What a metric gives for some queries, float64 [Q]; what breaks the contract is refused."""
    values_Q = np.asarray(metric(relevant_QK, relevant_Q), dtype=np.float64)
    if values_Q.shape != relevant_Q.shape:
        raise RegistryError(
            f"metrics: {name!r} gave an array of shape {values_Q.shape} for"
            f" {len(relevant_Q)} queries; allowed is one number for each query"
        )
    if not ((values_Q >= -_ROUNDING) & (values_Q <= 1 + _ROUNDING)).all():
        raise RegistryError(
            f"metrics: {name!r} gave values from {values_Q.min()} to {values_Q.max()}; allowed are"
            " numbers from 0 to 1"
        )
    return np.clip(values_Q, 0, 1)


def _searches(
    domains_Q: np.ndarray, domains_N: np.ndarray, own_domain_only: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The (queries, index rows) that are searched together."""
    if not own_domain_only:
        return [(np.arange(len(domains_Q)), np.arange(len(domains_N)))]
    return [
        (np.flatnonzero(domains_Q == domain), np.flatnonzero(domains_N == domain))
        for domain in np.unique(domains_Q)
    ]


def _take(matrix_ND: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows of a matrix, ascending.

    They are a view where they stand side by side: two copies of an index may not fit in memory.
    """
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return matrix_ND[rows[0] : rows[-1] + 1]
    return matrix_ND[rows]


def _average(
    per_query: PerQuery, domain_names: list[Hashable], domains_Q: np.ndarray
) -> RetrievalMetrics:
    """Mean per domain, then the unweighted mean over the domains that have queries."""
    per_domain = {}
    for domain in np.unique(domains_Q):
        own = domains_Q == domain
        per_domain[domain_names[domain]] = DomainMetrics(
            means={
                name: float(values_Q[own].mean()) for name, values_Q in per_query.values.items()
            },
            queries=int(own.sum()),
        )
    return RetrievalMetrics(
        means={
            name: float(np.mean([domain.means[name] for domain in per_domain.values()]))
            if per_domain
            else float("nan")
            for name in per_query.values
        },
        per_domain=per_domain,
        per_query=per_query,
    )

"""How sure a difference in a metric is.

A paired bootstrap over training seeds and queries, as pure functions of differences of queries.

Shapes: S seeds, Q queries of a domain, P distinct columns of an [S, Q] array, R replicates, G
distinct draws of seeds, V distinct sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

REPLICATES = 2000
LEVEL = 0.95
_GENERATOR_SEED = 0  # fixed, so that the same files give the same interval
_SEEDS_PER_CODE = 20  # 3**20 times the number of queries fits 64 bits
_DECIMALS = 12  # 0.2 + 0.4 and 0.6 are one sum
_QUERIES_PER_COUNT = 10  # so many queries are drawn in the time that one count takes


def mean_difference(differences: Sequence[np.ndarray]) -> float:
    """Mean over domains of the mean over seeds and queries: a difference in a metric.

    >>> mean_difference([np.array([[1, 0]]), np.array([[-1, 0, 0, 0]])])
    0.125
    """
    return float(np.mean([domain_SQ.mean() for domain_SQ in differences]))


def paired_interval(
    differences: Sequence[np.ndarray], *, replicates: int = REPLICATES, level: float = LEVEL
) -> tuple[float, float]:
    """Compute the percentile interval of `mean_difference`.

    It is that of a paired bootstrap over seeds and queries.

    Seeds and queries are crossed: every seed's model answers the same queries. A replicate draws
    seeds with replacement, once for all domains, for a seed is a model for all domains. Then it
    draws in each domain its queries with replacement, once for all drawn seeds. With one seed only
    the queries vary, and the interval says nothing of training.

    How far to trust it: a few seeds are a small sample, whose variance the bootstrap takes (S -
    1)/S as large as it is. So with two or three seeds the interval is too narrow where training
    moves the metric more than the choice of queries does. What a seed changes query by query counts
    more than once; so the interval is somewhat too wide where seeds hardly move the metric as a
    whole.

    Args:
        differences: for each domain an array [S, Q]: value of ours - value of theirs for the same
            query and seed; Q differs between domains, S does not. Integers are differences in hits
            (-1, 0, 1); floats lie in [-1, 1].
        replicates: how often is drawn.
        level: share of the replicates inside the interval; half of the rest lies below it.

    Returns:
        (low, high), as fractions. The same input gives the same interval.

    Raises:
        ValueError: no domain, a domain without a query or a seed, domains with different numbers of
            seeds.

    Source: A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007.

    Example:
        >>> always, never = np.ones((3, 50), dtype=int), np.zeros((3, 20), dtype=int)
        >>> paired_interval([always, never])
        (0.5, 0.5)
        >>> low, high = paired_interval([np.array([[1] * 30 + [0] * 60 + [-1] * 10])])
        >>> round(low, 2), round(high, 2)
        (0.07, 0.31)
    """
    values_R = replicate(differences, replicates, np.random.default_rng(_GENERATOR_SEED))
    low, high = np.quantile(values_R, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def replicate(
    differences: Sequence[np.ndarray], replicates: int, generator: np.random.Generator
) -> np.ndarray:
    """Replicates of `mean_difference`: float64 [R].

    Once its seeds are drawn, a query counts only by the sum of its differences over them. So to
    draw Q queries is to draw how often each distinct sum occurs, from a multinomial distribution:
    the same distribution as drawing them one by one. Differences in hits have at most 2S + 1 sums,
    at a cost that hardly depends on Q. Where there are more distinct sums than a tenth of Q, the
    queries are drawn one by one, a replicate at a time: faster then, with memory for Q numbers.

    Args:
        differences: as `paired_interval` takes them.
        replicates: how often is drawn, R.
        generator: where the random numbers come from.
    """
    sizes = {len(domain_SQ) for domain_SQ in differences}
    if len(sizes) != 1 or not all(domain_SQ.size for domain_SQ in differences):
        shapes = ", ".join(str(domain_SQ.shape) for domain_SQ in differences) or "none"
        raise ValueError(
            "differences must be one array [S, Q] per domain, none empty and all of one S, got"
            f" shapes {shapes}."
        )
    (seeds,) = sizes
    drawn_RS = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates)
    # few seeds are drawn in few ways: 126 for five
    draws_GS, group_R = np.unique(drawn_RS, axis=0, return_inverse=True)
    group_R = group_R.reshape(-1)  # NumPy 2.0 gives [R, 1]
    values_R = np.zeros(replicates)
    for domain_SQ in differences:
        whole = np.issubdtype(domain_SQ.dtype, np.integer)
        totals = _totals_of_hits if whole else _totals
        # whole numbers up to this division, so that a constant difference gives exactly itself
        values_R += totals(domain_SQ, draws_GS, group_R, generator) / domain_SQ.size
    return values_R / len(differences)


def _totals_of_hits(
    differences_SQ: np.ndarray,
    draws_GS: np.ndarray,
    group_R: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """The sum over drawn seeds and queries of differences -1, 0, 1: int64 [R]."""
    seeds, queries = differences_SQ.shape
    sums_V = np.arange(-seeds, seeds + 1)
    columns_SP, counts_P = distinct_columns(differences_SQ)
    counts_GV = np.array(
        [np.bincount(draw_S @ columns_SP + seeds, counts_P, len(sums_V)) for draw_S in draws_GS]
    )
    drawn_RV = generator.multinomial(queries, (counts_GV / queries)[group_R])
    return drawn_RV @ sums_V


def _totals(
    differences_SQ: np.ndarray,
    draws_GS: np.ndarray,
    group_R: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """The sum over drawn seeds and queries of differences of any size: float64 [R].

    Args:
        differences_SQ: of one domain.
        draws_GS: how often each seed is drawn, in each distinct draw of seeds.
        group_R: the draw of seeds of each replicate.
        generator: where the random numbers come from.
    """
    queries = differences_SQ.shape[1]
    totals_R = np.empty(len(group_R))
    for group, draw_S in enumerate(draws_GS):
        replicates = np.flatnonzero(group_R == group)
        sums_V, counts_V = np.unique(
            np.round(draw_S @ differences_SQ, _DECIMALS), return_counts=True
        )
        if len(sums_V) * _QUERIES_PER_COUNT <= queries:
            drawn_RV = generator.multinomial(queries, counts_V / queries, size=len(replicates))
            totals_R[replicates] = drawn_RV @ sums_V
        else:
            sums_Q = np.repeat(sums_V, counts_V)
            for number in replicates:
                totals_R[number] = sums_Q[generator.integers(queries, size=queries)].sum()
    return totals_R


def distinct_columns(differences_SQ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct columns of an array of -1, 0, 1, and how often each occurs.

    There are at most 3^S: (int64 [S, P], int64 [P]).

    >>> columns_SP, counts_P = distinct_columns(np.array([[1, 0, 1, 0], [0, -1, 0, 1]]))
    >>> columns_SP.tolist(), counts_P.tolist()
    ([[0, 0, 1], [-1, 1, 0]], [1, 1, 2])
    """
    codes_Q = np.zeros(differences_SQ.shape[1], dtype=np.int64)
    for row, differences_Q in enumerate(differences_SQ):
        if row and row % _SEEDS_PER_CODE == 0:  # number the codes afresh before they grow too long
            codes_Q = np.unique(codes_Q, return_inverse=True)[1]
        codes_Q = 3 * codes_Q + differences_Q + 1
    _, first_P, counts_P = np.unique(codes_Q, return_index=True, return_counts=True)
    return differences_SQ[:, first_P].astype(np.int64), counts_P

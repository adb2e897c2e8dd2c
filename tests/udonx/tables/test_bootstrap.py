"""The paired bootstrap, against a slow one that draws seeds and queries one by one, and against
what is known.
"""

from __future__ import annotations

import numpy as np
import pytest

from udonx.tables.bootstrap import (
    REPLICATES,
    distinct_columns,
    mean_difference,
    paired_interval,
    replicate,
)


def crossed_differences(
    seeds: int, sizes: tuple[int, ...], *, seed_effect: float = 0.0, generator: int = 0
) -> list[np.ndarray]:
    """Differences in hits where queries keep their side from seed to seed and, with `seed_effect`,
    seeds differ in all domains alike.
    """
    rng = np.random.default_rng(generator)
    effect_S = rng.normal(0.2, seed_effect, seeds)
    found = []
    for queries in sizes:
        difficulty_Q, favour_Q = rng.normal(size=queries), rng.normal(0, 0.5, queries)
        noise_2SQ = rng.normal(0, 0.2, (2, seeds, queries))
        ours_SQ = difficulty_Q + favour_Q + effect_S[:, None] + noise_2SQ[0] > 0
        found.append(ours_SQ.astype(np.int8) - (difficulty_Q + noise_2SQ[1] > 0))
    return found


def slow_replicates(differences: list[np.ndarray], replicates: int) -> np.ndarray:
    """The resampling scheme as it is said: seeds once for all domains, then each domain's queries
    once for all drawn seeds.
    """
    rng = np.random.default_rng(99)
    values = []
    for _ in range(replicates):
        seeds = [rng.integers(len(differences[0])) for _ in differences[0]]
        means = []
        for domain_SQ in differences:
            queries = rng.integers(domain_SQ.shape[1], size=domain_SQ.shape[1])
            means.append(np.mean([domain_SQ[seed, queries].mean() for seed in seeds]))
        values.append(np.mean(means))
    return np.array(values)


def test_the_statistic_weighs_domains_alike():
    """A domain of two queries counts as much as one of six."""
    assert mean_difference(
        [np.array([[1, 1], [0, 0]]), np.array([[0, 0, 0, 0, 0, -1]] * 2)]
    ) == pytest.approx((0.5 - 1 / 6) / 2)


@pytest.mark.parametrize(
    ("seeds", "sizes", "seed_effect"),
    [(1, (40, 15), 0.0), (3, (40, 15), 0.0), (3, (60, 25, 40), 0.5), (5, (9, 30), 0.3)],
    ids=["one seed", "seeds alike", "seeds apart", "five seeds"],
)
def test_replicates_are_those_of_the_slow_bootstrap(seeds, sizes, seed_effect):
    """Every part of the distribution agrees with drawing one by one: mean, deviation and quantiles,
    within what 8,000 replicates leave.
    """
    differences = crossed_differences(seeds, sizes, seed_effect=seed_effect)
    slow = slow_replicates(differences, 8000)
    fast = replicate(differences, 8000, np.random.default_rng(1))
    assert fast.mean() == pytest.approx(slow.mean(), abs=0.06 * slow.std())
    assert fast.std() == pytest.approx(slow.std(), rel=0.05)
    levels = [0.025, 0.1, 0.5, 0.9, 0.975]
    np.testing.assert_allclose(
        np.quantile(fast, levels), np.quantile(slow, levels), atol=0.15 * slow.std()
    )


def in_fifths(seeds: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """Differences of few values, such as those of mMP@5, skewed so that the quantiles are too."""
    rng = np.random.default_rng(3)
    return [rng.choice([0, 0.2, -0.2, 0.6], (seeds, Q), p=[0.7, 0.1, 0.1, 0.1]) for Q in sizes]


def of_any_size(seeds: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """Differences that are nearly all distinct, such as those of mAP@R."""
    rng = np.random.default_rng(4)
    return [rng.normal(0.1, 0.3, (seeds, 1)) + rng.uniform(-0.4, 0.4, (seeds, Q)) for Q in sizes]


@pytest.mark.parametrize("draw", [in_fifths, of_any_size])
@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_replicates_of_any_metric_are_those_of_the_slow_bootstrap(draw, seeds):
    """Real-valued differences are resampled as hits are, few or many distinct ones."""
    differences = draw(seeds, (250, 120))
    slow = slow_replicates(differences, 8000)
    fast = replicate(differences, 8000, np.random.default_rng(1))
    assert fast.mean() == pytest.approx(slow.mean(), abs=0.06 * slow.std())
    assert fast.std() == pytest.approx(slow.std(), rel=0.05)
    levels = [0.025, 0.1, 0.5, 0.9, 0.975]
    np.testing.assert_allclose(
        np.quantile(fast, levels), np.quantile(slow, levels), atol=0.2 * slow.std()
    )


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_hits_have_the_same_interval_as_numbers(seeds):
    """-1, 0, 1 as floats give the interval that they give as integers, but for 0.2 points."""
    differences = crossed_differences(seeds, (4000, 2500))
    as_floats = [domain_SQ.astype(float) for domain_SQ in differences]
    assert paired_interval(as_floats) == pytest.approx(paired_interval(differences), abs=0.002)


def test_intervals_of_hits_are_those_of_every_version():
    """The random numbers of differences in hits are drawn as when only R@1 was compared."""
    differences = [(np.arange(3 * Q).reshape(3, Q) * 7 % 11 % 3 - 1) for Q in (40, 90)]
    assert paired_interval(differences) == pytest.approx(
        (-0.20972222222222223, 0.024999999999999994), abs=1e-9
    )


@pytest.mark.parametrize("queries", [5, 500])
def test_constant_differences_of_any_size_have_no_width(queries):
    """A difference that is everywhere 0.3 is 0.3, whichever way queries are drawn."""
    assert paired_interval([np.full((3, queries), 0.3)] * 2) == pytest.approx((0.3, 0.3))


def test_seeds_are_drawn_once_for_all_domains():
    """Four domains that all follow the seed are as unsure as one of them: drawing seeds for each
    domain would halve the interval.
    """
    follows_seed = np.repeat([[1], [0], [-1]], 500, axis=1)
    one, four = paired_interval([follows_seed]), paired_interval([follows_seed] * 4)
    assert one == four == (-1.0, 1.0)


def test_queries_are_drawn_once_for_all_seeds():
    """Five seeds that agree on every query know no more about queries than one: drawing queries for
    each seed would narrow the interval.
    """
    (one_SQ,) = crossed_differences(1, (200,))
    alone, five = (
        paired_interval([differences_SQ])
        for differences_SQ in (one_SQ, np.repeat(one_SQ, 5, axis=0))
    )
    assert five == pytest.approx(alone, abs=0.01)


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("constant", [-1, 0, 1])
def test_a_constant_difference_has_an_interval_of_no_width(seeds, constant):
    """All equal gives exactly [0, 0], always better exactly [1, 1], for any number of domains and
    queries.
    """
    differences = [np.full((seeds, queries), constant, dtype=np.int8) for queries in (7, 49, 1003)]
    assert paired_interval(differences) == (constant, constant)


def test_the_interval_is_the_percentiles_at_their_level():
    """2.5 % of the replicates lie below, 2.5 % above; a lower level gives a narrower interval."""
    differences = crossed_differences(3, (300, 100), seed_effect=0.2)
    values = replicate(differences, REPLICATES, np.random.default_rng(0))
    low, high = paired_interval(differences)
    assert (np.mean(values < low), np.mean(values > high)) == (
        pytest.approx(0.025, abs=0.002),
        pytest.approx(0.025, abs=0.002),
    )
    narrow = paired_interval(differences, level=0.5)
    assert low < narrow[0] < mean_difference(differences) < narrow[1] < high


def test_the_same_differences_give_the_same_interval():
    """The generator is fixed, and the order of the queries is of no account."""
    sizes = (300, 100)
    for differences in (crossed_differences(3, sizes), in_fifths(3, sizes), of_any_size(3, sizes)):
        shuffled = [
            domain_SQ[:, np.random.default_rng(5).permutation(domain_SQ.shape[1])]
            for domain_SQ in differences
        ]
        interval = paired_interval(differences)
        assert interval == paired_interval(differences) == paired_interval(shuffled)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Over 300 benchmarks drawn from one world the interval of one seed's difference holds the true
    one in about 95 % of the cases.
    """
    truth = mean_difference(crossed_differences(1, (2_000_000,), generator=1))
    held = 0
    for number in range(300):
        low, high = paired_interval(
            crossed_differences(1, (150, 400), generator=100 + number), replicates=500
        )
        held += low <= truth <= high
    assert 0.91 <= held / 300 <= 0.985


def test_seeds_that_differ_widen_the_interval():
    """Where training moves all queries, one seed's interval misses the truth far more often than
    that of five.
    """
    truth = mean_difference(crossed_differences(1, (2_000_000,), generator=1))
    share = {}
    for seeds in (1, 5):
        intervals = [
            paired_interval(
                crossed_differences(seeds, (150, 400), seed_effect=0.15, generator=number),
                replicates=500,
            )
            for number in range(150)
        ]
        share[seeds] = np.mean([low <= truth <= high for low, high in intervals])
    assert share[1] < 0.6 and share[5] > 0.8


@pytest.mark.parametrize("seeds", [1, 3, 45])
def test_distinct_columns_are_counted(seeds):
    """As np.unique over columns counts them, columns that differ in the first or last seed only
    included.
    """
    rng = np.random.default_rng(0)
    some_SP = rng.integers(-1, 2, (seeds, 4), dtype=np.int8)
    for seed in (0, -1):
        other_S = some_SP[:, :1].copy()
        other_S[seed] = -1 if other_S[seed] != -1 else 0
        some_SP = np.hstack([some_SP, other_S])
    assert_counted(some_SP[:, rng.integers(6, size=500)])


def test_distinct_columns_of_many_seeds_are_not_mixed_up():
    """42 differences that would make the same 64-bit number as no difference at all, 2**64 written
    in digits -1, 0, 1, stay apart.
    """
    digits, rest = [], 2**64
    while rest:
        digits.append((rest + 1) % 3 - 1)
        rest = (rest - digits[-1]) // 3
    assert_counted(np.array([digits[::-1], [0] * len(digits), [0] * len(digits)], dtype=np.int8).T)


def assert_counted(differences_SQ: np.ndarray) -> None:
    """`distinct_columns` says what np.unique says, in any order."""
    found, wanted = (
        distinct_columns(differences_SQ),
        np.unique(differences_SQ, axis=1, return_counts=True),
    )
    mine, others = (
        sorted(zip(map(tuple, columns_SP.T.tolist()), counts_P.tolist(), strict=True))
        for columns_SP, counts_P in (found, wanted)
    )
    assert mine == others


@pytest.mark.parametrize(
    "differences",
    [[], [np.zeros((1, 0))], [np.zeros((0, 3))], [np.zeros((1, 3)), np.zeros((2, 3))]],
    ids=["none", "Q", "S", "two S"],
)
def test_what_cannot_be_resampled_is_refused(differences):
    """No domain, no query, no seed, or domains with different seeds: one sentence
    with the shapes.
    """
    with pytest.raises(ValueError, match="one array"):
        paired_interval(differences)

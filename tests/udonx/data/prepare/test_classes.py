import random
from fractions import Fraction

import pytest

from udonx.data.errors import DataError
from udonx.data.prepare.classes import LEAST, allot, assign, checked_shares, fewest_classes

NAMES = [f"class {number}" for number in range(50)]


@pytest.mark.parametrize(
    ("classes", "shares", "expected"),
    [
        (100, [0.6, 0.2, 0.2], (60, 20, 20)),
        (5, [0.6, 0.2, 0.2], (3, 1, 1)),
        (4, [0.6, 0.2, 0.2], (2, 1, 1)),
        (4, [0.8, 0.1, 0.1], (2, 1, 1)),
        (9, [0.6, 0.2, 0.2], (5, 2, 2)),  # 5.4, 1.8, 1.8
        (10, [0.5, 0.25, 0.25], (5, 3, 2)),  # 5, 2.5, 2.5: of equal remainders the first
        (7, [0.333, 0.333, 0.333], (3, 2, 2)),
        (10, [0.98, 0.01, 0.01], (8, 1, 1)),
        (1000, [0.98, 0.01, 0.01], (980, 10, 10)),
        (50, [0.01, 0.01, 0.98], (2, 1, 47)),
        (6, [0.5, 0, 0.5], (3, 0, 3)),
        (3, [0.99, 0, 0.01], (2, 0, 1)),
    ],
)
def test_shares_are_rounded_by_largest_remainder(classes, shares, expected):
    """Whole parts, then the largest remainders; a split below its least is lifted to it."""
    counts = allot(classes, checked_shares(shares))
    assert tuple(counts.get(split, 0) for split in ("train", "val", "test")) == expected


def test_counts_are_within_one_of_the_share_or_at_their_least():
    """For any shares and any sufficient number of classes: all are given, none falls short, none is
    a whole class off without need.
    """
    draw = random.Random(0)
    for _ in range(300):
        parts = [draw.randint(1, 98), draw.choice([0, draw.randint(1, 98)]), draw.randint(1, 98)]
        shares = {
            split: Fraction(part, sum(parts))
            for split, part in zip(("train", "val", "test"), parts, strict=True)
            if part
        }
        classes = draw.randint(fewest_classes(shares), 60)
        counts = allot(classes, shares)
        assert sum(counts.values()) == classes and list(counts) == list(shares)
        assert all(counts[split] >= LEAST[split] for split in counts)
        if all(classes * shares[split] >= LEAST[split] for split in shares):
            assert all(abs(counts[split] - classes * shares[split]) < 1 for split in shares)


def test_the_draw_depends_on_names_seed_and_domain_alone():
    """The order of the names changes nothing; another seed or domain draws other classes; every
    class is drawn once.
    """
    shares = checked_shares([0.6, 0.2, 0.2])
    drawn = assign(NAMES, shares, seed=0, domain="cars")
    assert assign(reversed(NAMES), shares, seed=0, domain="cars") == drawn and list(
        drawn
    ) == sorted(NAMES)
    assert [list(drawn.values()).count(split) for split in ("train", "val", "test")] == [30, 10, 10]
    assert (
        assign(NAMES, shares, seed=1, domain="cars")
        != drawn
        != assign(NAMES, shares, seed=0, domain="food")
    )


def test_one_more_class_moves_few_others():
    """A class that is added shifts at most one class over each boundary between splits."""
    shares = checked_shares([0.6, 0.2, 0.2])
    before, after = (
        assign(names, shares, seed=0, domain="cars") for names in (NAMES, [*NAMES, "one more"])
    )
    assert sum(before[name] != after[name] for name in NAMES) <= 2


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([0.5, 0.5], "the shares are 0.5,0.5; allowed are three numbers"),
        ([0.5, 0.25, 0.125, 0.125], "allowed are three numbers"),
        ([], "allowed are three numbers"),
        ([1.2, -0.4, 0.2], "none below 0"),
        ([0.6, 0.2, 0.1], "the shares 0.6,0.2,0.1 sum to 0.9; .* must sum to 1"),
        ([60, 20, 20], "sum to 100"),
        (
            [0.8, 0.2, 0],
            "the shares are 0.8,0.2,0, which leaves test without classes; only val may",
        ),
        ([0, 0.5, 0.5], "leaves train without classes"),
        ([float("nan"), 0.5, 0.5], "allowed are three finite numbers"),
        ([float("inf"), 0.5, 0.5], "allowed are three finite numbers"),
        (["a", 0.5, 0.5], "the shares are a,0.5,0.5; allowed are three finite numbers"),
    ],
)
def test_wrong_shares_are_told(shares, message):
    """One sentence with what was got and what is allowed."""
    with pytest.raises(DataError, match=message):
        checked_shares(shares)


def test_shares_may_be_rounded():
    """Thirds of three decimals count as thirds."""
    assert set(checked_shares([0.333, 0.333, 0.333]).values()) == {Fraction(1, 3)}
    assert sum(checked_shares([0.3334, 0.3333, 0.3334]).values()) == 1

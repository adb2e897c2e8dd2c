"""Which classes of a domain are for training, validation and testing: how many of each, and which.

No file is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from udonx.common.seeds import stream_seed
from udonx.data.errors import SplitError

SPLITS = ("train", "val", "test")

LEAST = {"train": 2, "val": 1, "test": 1}
"""The fewest classes that a split may have: training must have something to tell apart."""

_ROUNDING = Fraction(1, 1000)


def checked_shares(shares: Sequence[float]) -> dict[str, Fraction]:
    """The shares of train, val and test as exact fractions that sum to 1.

    val is left out where its share is 0.

    Args:
        shares: three numbers that sum to 1, give or take 0.001: thirds may be written 0.333. Train
            and test are above 0.

    Raises:
        SplitError: another number of shares, one that is negative or no number, none for train or
            test, another sum.

    Example:
        >>> checked_shares([0.5, 0, 0.5])
        {'train': Fraction(1, 2), 'test': Fraction(1, 2)}
    """
    got = ",".join(f"{share:g}" if isinstance(share, float) else str(share) for share in shares)
    try:
        # By way of text 0.1 is a tenth, not the nearest binary number, and equal remainders are
        # equal.
        exact = [Fraction(str(share)) for share in shares]
    except ValueError:
        raise SplitError(
            f"the shares are {got}; allowed are three finite numbers such as 0.6,0.2,0.2"
        ) from None
    if len(exact) != len(SPLITS) or min(exact) < 0:
        raise SplitError(
            f"the shares are {got}; allowed are three numbers, none below 0: of train, val and"
            " test, such as 0.6,0.2,0.2"
        )
    total = sum(exact, Fraction())
    if abs(total - 1) > _ROUNDING:
        raise SplitError(
            f"the shares {got} sum to {float(total):g}; the shares of train, val and test must sum"
            " to 1"
        )
    named = {split: share / total for split, share in zip(SPLITS, exact, strict=True) if share}
    for split in ("train", "test"):
        if split not in named:
            raise SplitError(
                f"the shares are {got}, which leaves {split} without classes; only val may have a"
                " share of 0"
            )
    return named


def fewest_classes(shares: Mapping[str, Fraction]) -> int:
    """How many classes a domain needs, so that every split has its least.

    Example:
        >>> fewest_classes(checked_shares([0.6, 0.2, 0.2]))
        4
    """
    return sum(LEAST[split] for split in shares)


def allot(classes: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """How many classes each split gets; the sum is `classes`.

    Every split gets the whole part of its share. The classes that are left go to the splits with
    the largest remainders (of equal ones to the first of train, val, test). A split that would then
    have fewer than its least (`LEAST`) gets that, and the others share the rest in the same way.

    Args:
        classes: at least `fewest_classes(shares)`.
        shares: as `checked_shares` returns them.

    Example:
        >>> allot(10, checked_shares([0.6, 0.2, 0.2])), allot(4, checked_shares([0.6, 0.2, 0.2]))
        ({'train': 6, 'val': 2, 'test': 2}, {'train': 2, 'val': 1, 'test': 1})
    """
    lifted: dict[str, int] = {}
    while True:
        free = {split: share for split, share in shares.items() if split not in lifted}
        counts = _largest_remainder(classes - sum(lifted.values()), free)
        short = {split: LEAST[split] for split, count in counts.items() if count < LEAST[split]}
        if not short:
            return {split: (lifted | counts)[split] for split in shares}
        lifted |= short


def _largest_remainder(count: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    total = sum(shares.values())
    exact = {split: count * share / total for split, share in shares.items()}
    counts = {split: int(quota) for split, quota in exact.items()}
    for split in sorted(exact, key=lambda split: counts[split] - exact[split])[
        : count - sum(counts.values())
    ]:
        counts[split] += 1
    return counts


def assign(
    names: Iterable[str], shares: Mapping[str, Fraction], *, seed: int, domain: str
) -> dict[str, str]:
    """Draw the split of each class; class -> split, in alphabetical order of the classes.

    The classes are put in an order in which each one's place follows from (seed, domain, its name)
    alone: the draw depends neither on the order of `names` nor on other domains, and one more class
    changes the split of few others.

    Example:
        >>> shares = checked_shares([0.6, 0.2, 0.2])
        >>> assign(["seat", "audi", "saab", "bmw"], shares, seed=0, domain="cars")
        {'audi': 'train', 'bmw': 'val', 'saab': 'test', 'seat': 'train'}
    """
    drawn = sorted(names, key=lambda name: (stream_seed(seed, f"split/{domain}/{name}"), name))
    splits = [split for split, count in allot(len(drawn), shares).items() for _ in range(count)]
    return dict(sorted(zip(drawn, splits, strict=True)))

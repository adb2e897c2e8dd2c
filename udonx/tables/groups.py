"""Which rows of a table are compared with each other, and over which seeds.

All of it is pure functions of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar


class Row(Protocol):
    """What of a table's row is compared."""

    @property
    def label(self) -> str:
        """What the row is called."""

    @property
    def index(self) -> str:
        """The searched index, "merged" or "own"."""

    @property
    def backbone(self) -> str:
        """The role of the row's backbone."""

    @property
    def reference(self) -> bool:
        """Whether the row is shown only, and not compared."""

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seeds that the figures are over."""

    @property
    def per_seed(self) -> Mapping[str, tuple[float, ...]]:
        """By the metric's name its value of each seed."""

    @property
    def evaluations(self) -> tuple[str, ...]:
        """The id of each seed's evaluation."""


_R = TypeVar("_R", bound=Row)


Group = tuple[str, str]
"""Index and backbone: rows of one group are compared with each other. A method is not what differs
between two backbones.
"""


def group_of(row: Row) -> Group:
    """The group of a row."""
    return row.index, row.backbone


def first_rows(rows: Iterable[_R]) -> dict[Group, _R]:
    """For each group the row that its others are compared with: the first that is no reference."""
    firsts: dict[Group, _R] = {}
    for row in rows:
        if not row.reference:
            firsts.setdefault(group_of(row), row)
    return firsts


def seed_pairs(ours: Sequence[int | None], theirs: Sequence[int | None]) -> list[tuple[int, int]]:
    """Positions of the results that are compared: those of the same seed.

    What has no seed is the same for every seed.

    >>> seed_pairs((0, 1, 2), (1, 2, 3)), seed_pairs((0, 1), (None,)), seed_pairs((None,), (None,))
    ([(1, 0), (2, 1)], [(0, 0), (1, 0)], [(0, 0)])
    """
    if tuple(ours) == (None,):
        return [(0, position) for position in range(len(theirs))]
    if tuple(theirs) == (None,):
        return [(position, 0) for position in range(len(ours))]
    return [
        (position, list(theirs).index(seed)) for position, seed in enumerate(ours) if seed in theirs
    ]


def common_seeds(ours: Row, theirs: Row) -> int:
    """Over how many training seeds two rows are compared.

    It is 0 where neither has any, or they have none in common.
    """
    pairs = seed_pairs(ours.seeds, theirs.seeds)
    return 0 if ours.seeds == theirs.seeds == (None,) else len(pairs)


def all_seeds(rows: Iterable[Row]) -> tuple[int, ...]:
    """The training seeds of any row, in order."""
    return tuple(sorted({seed for row in rows for seed in row.seeds if seed is not None}))


def on_other_seeds(rows: Sequence[Row]) -> list[bool]:
    """For each row whether its means lack seeds that other rows have.

    A row without a seed is the same for every seed.
    """
    seeds = set(all_seeds(rows))
    return [tuple(row.seeds) != (None,) and set(row.seeds) != seeds for row in rows]

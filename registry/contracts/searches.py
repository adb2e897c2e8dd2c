"""What a search for the options of a row is given and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs


@attrs.frozen(kw_only=True)
class Dimension:
    """A key of a row and the values that are tried for it.

    Attributes:
        path: the key with those around it, such as `optimiser.lr_heads`.
        low: the smallest value of a range; None for a list.
        high: the largest value of a range.
        log: whether factors, not differences, are alike all over the range.
        whole: whether the key takes whole numbers only.
        values: the values of a list, as TOML holds them; None for a range.
    """

    path: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False
    values: tuple[Any, ...] | None = None


@attrs.frozen(kw_only=True)
class Trial:
    """A row with certain values, and what came of it.

    Attributes:
        number: 0 for the row as its file has it.
        values: by the path of their dimension.
        score: the higher the better; None where the training failed.
    """

    number: int
    values: Mapping[str, Any]
    score: float | None


class Search(Protocol):
    """Which values are tried next.

    `ask` is a pure function: a call that was killed is given again, and asks for the same trials.
    A search that does not read `history` says `adaptive = False`: then what it will cost is counted
    exactly. One that says nothing is taken to read it.

    Attributes:
        trials: how many it makes of those that it was given, the row as it is among them.
    """

    trials: int

    def ask(self, number: int, history: Sequence[Trial]) -> Mapping[str, Any]:
        """The values of a trial.

        Args:
            number: the trial's, from 1 to `trials` - 1; trial 0 is the row as its file has it.
            history: all trials before it.

        Returns:
            A value for every dimension, by its path.
        """
        ...

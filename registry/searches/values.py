"""Values of a dimension: at a share of its range, with few digits; whether one is in it."""

from __future__ import annotations

import math
from typing import Any

from registry.contracts import Dimension

_DIGITS = 4
"""Significant digits of a value in a range: a file with more is hard to read, and no better."""


def value_at(dimension: Dimension, share: float) -> Any:
    """The value at a share of a dimension, the values of a list being equally wide.

    Args:
        dimension: a list or a range.
        share: from 0, its beginning, to 1, its end.

    Example:
        >>> value_at(Dimension(path="lr", low=1e-4, high=1e-2, log=True), 0.5)
        0.001
        >>> value_at(Dimension(path="dim", values=(32, 64)), 0.7)
        64
    """
    if dimension.values is not None:
        return dimension.values[min(int(share * len(dimension.values)), len(dimension.values) - 1)]
    low, high = bounds(dimension)
    if dimension.log:
        return rounded(dimension, math.exp(math.log(low) + share * math.log(high / low)))
    return rounded(dimension, low + share * (high - low))


def rounded(dimension: Dimension, value: float) -> int | float:
    """A value of a range with few digits, or whole, and still within the range.

    Example:
        >>> rounded(Dimension(path="lr", low=0.0, high=1.0), 0.123456)
        0.1235
    """
    low, high = bounds(dimension)
    within = min(max(value, low), high)
    if dimension.whole:
        return round(within)
    return min(max(float(f"{within:.{_DIGITS}g}"), low), high)


def contains(dimension: Dimension, value: Any) -> bool:
    """Whether a value is one of a dimension.

    Example:
        >>> contains(Dimension(path="lr", low=0.0, high=1.0), 2.0)
        False
    """
    if dimension.values is not None:
        return value in dimension.values
    low, high = bounds(dimension)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and low <= value <= high


def bounds(dimension: Dimension) -> tuple[float, float]:
    """The ends of a range."""
    assert dimension.low is not None and dimension.high is not None, "it is a list"
    return dimension.low, dimension.high

"""Values drawn at random, each dimension by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from registry import searches
from registry.contracts import Dimension, Trial
from registry.searches.values import bounds, value_at


@searches.register("random")
class Random:
    """Values drawn evenly from every dimension; rows draw the same for a dimension that they share.

    Args:
        space: the dimensions.
        trials: how many trials there are.
        seed: what the draws follow from.
    """

    adaptive = False

    def __init__(
        self,
        space: Sequence[Dimension],
        trials: int,
        *,
        seed: Annotated[int, Field(ge=0, description="What the draws follow from.")] = 0,
    ) -> None:
        self.trials = trials
        self._space, self._seed = space, seed

    def ask(self, number: int, history: Sequence[Trial]) -> Mapping[str, Any]:
        """Values that follow from the seed, the number of the trial and each dimension's path."""
        return {
            dimension.path: _value(dimension, _draw(self._seed, number, dimension.path))
            for dimension in self._space
        }


def _value(dimension: Dimension, share: float) -> Any:
    """The value at a share of a dimension; whole numbers all have shares of the same size."""
    if dimension.whole and not dimension.log and dimension.values is None:
        low, high = map(int, bounds(dimension))
        return low + min(int(share * (high - low + 1)), high - low)
    return value_at(dimension, share)


def _draw(seed: int, number: int, path: str) -> float:
    """A number from 0 to 1 that belongs to these three alone."""
    return float(np.random.default_rng([seed, number, *path.encode()]).random())

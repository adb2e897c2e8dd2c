"""Values drawn at random, each dimension by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from registry import searches
from registry.contracts import Dimension, Trial
from registry.searches.values import value_at


@searches.register("random")
class Random:
    """Values drawn evenly from every dimension; rows draw the same for a dimension that they share.

    Args:
        space: the dimensions.
        trials: how many trials there are.
        seed: what the draws follow from.
    """

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
            dimension.path: value_at(dimension, _draw(self._seed, number, dimension.path))
            for dimension in self._space
        }


def _draw(seed: int, number: int, path: str) -> float:
    """A number from 0 to 1 that belongs to these three alone."""
    return float(np.random.default_rng([seed, number, *path.encode()]).random())

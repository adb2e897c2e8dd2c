"""Every combination of values, one after another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from registry import searches
from registry.contracts import Dimension, Trial
from registry.searches.values import value_at


@searches.register("grid")
class Grid:
    """Every combination of the values, the last dimension changing fastest.

    Args:
        space: the dimensions.
        trials: how many trials there are, the row as it is among them.
        points: into how many values a range is divided.

    Raises:
        ValueError: a range without `points`, or more combinations than trials.
    """

    adaptive = False

    def __init__(
        self,
        space: Sequence[Dimension],
        trials: int,
        *,
        points: Annotated[
            int | None,
            Field(
                ge=2,
                description=(
                    "How many values of a range are tried, both ends among them; without it every"
                    " dimension needs a list."
                ),
            ),
        ] = None,
    ) -> None:
        ranges = [dimension.path for dimension in space if dimension.values is None]
        if ranges and points is None:
            are = "are ranges" if len(ranges) > 1 else "is a range"
            raise ValueError(
                f"{' and '.join(ranges)} {are}, and a grid needs single values; give points ="
                " 3, lists with `of`, or use random or tpe"
            )
        self._paths = [dimension.path for dimension in space]
        self._values = [_values(dimension, points) for dimension in space]
        combinations = math.prod(map(len, self._values))
        self.trials = combinations + 1
        if self.trials > trials:
            raise ValueError(
                f"these values have {combinations} combinations, for which a grid needs trials ="
                f" {self.trials}, the row as it is being the first; give so many or fewer"
                " values, or use random or tpe"
            )

    def ask(self, number: int, history: Sequence[Trial]) -> Mapping[str, Any]:
        """The combination of this number."""
        combinations = itertools.product(*self._values)
        chosen = next(itertools.islice(combinations, number - 1, None))
        return dict(zip(self._paths, chosen, strict=True))


def _values(dimension: Dimension, points: int | None) -> list[Any]:
    """The values of a list, or so many of a range, each once."""
    if dimension.values is not None:
        return list(dimension.values)
    assert points is not None
    return list(dict.fromkeys(value_at(dimension, k / (points - 1)) for k in range(points)))

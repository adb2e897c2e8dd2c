"""From shares of the domains to an order of steps, and the base of samplers with fixed shares.

Source: UDON, NeurIPS 2024; dataset sampling of the released implementation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights divided by their sum.

    Raises:
        ValueError: one is negative or not finite, or all are zero.

    Example:
        >>> normalised({"cars": 1, "sop": 3})
        {'cars': 0.25, 'sop': 0.75}
    """
    for name, weight in weights.items():
        if not math.isfinite(weight) or weight < 0:
            raise ValueError(
                f"the share of domain {name!r} is {weight}; shares are finite and not negative"
            )
    total = math.fsum(weights.values())
    if total == 0:
        raise ValueError(
            f"the shares of {', '.join(weights)} are all zero; at least one must be positive"
        )
    return {name: weight / total for name, weight in weights.items()}


def step_counts(weights: Sequence[float], steps: int) -> list[int]:
    """How many of `steps` each domain gets.

    That is floor(steps * weight); the last domain that has a share takes the rest.

    Raises:
        ValueError: the weights are not shares: one is negative, or their sum is not 1.

    Example:
        >>> step_counts([0.29, 0.31, 0.4], 99)
        [28, 30, 41]
    """
    # The guard keeps a product like 100 * 0.29 = 28.999999999999996 from losing the step that it
    # stands for.
    if not math.isclose(math.fsum(weights), 1, abs_tol=1e-6) or min(weights) < 0:
        raise ValueError(
            f"got the shares {', '.join(f'{weight:g}' for weight in weights)}, allowed are shares"
            " from 0 on that sum to 1"
        )
    counts = [math.floor(steps * weight + 1e-9) for weight in weights]
    last = max(position for position, weight in enumerate(weights) if weight > 0)
    counts[last] = steps - sum(counts[:last])
    return counts


def shuffled_order(
    weights: Sequence[float], steps: int, seed: int | Sequence[int]
) -> NDArray[np.int16]:
    """The domain of every step: `step_counts` of each, in an order that `seed` determines.

    Returns:
        Positions of domains, int16 [steps].

    Example:
        >>> order = shuffled_order([0.5, 0.25, 0.25], 8, seed=0)
        >>> np.bincount(order).tolist()
        [4, 2, 2]
    """
    order = np.repeat(np.arange(len(weights), dtype=np.int16), step_counts(weights, steps))
    return np.random.default_rng(seed).permutation(order)


def weights_from_losses(
    weights: Mapping[str, float], sums: Mapping[str, tuple[float, int]]
) -> dict[str, float]:
    """New shares of the domains from the losses of a window: equation 8 of docs/method.md.

    A domain seen in the window weighs its mean loss / the sum of the seen domains' mean losses. An
    unseen one (absent, or no samples) keeps its weight. Then all are divided by their sum. Where
    nothing was seen, or every seen loss is zero, the shares stay.

    Args:
        weights: the shares so far.
        sums: (sum of losses, samples) per domain.

    Raises:
        ValueError: an unknown domain, or a loss that is negative or not finite.

    Example:
        >>> weights_from_losses({"cars": 0.5, "sop": 0.5}, {"cars": (30.0, 10), "sop": (10.0, 10)})
        {'cars': 0.75, 'sop': 0.25}

        Here cars keeps 0.25, then both are divided by 1.25:

        >>> weights_from_losses({"cars": 0.25, "sop": 0.75}, {"sop": (8.0, 8)})
        {'cars': 0.2, 'sop': 0.8}
    """
    if unknown := [name for name in sums if name not in weights]:
        raise ValueError(
            f"losses for {', '.join(map(repr, unknown))}, but the domains are {', '.join(weights)}"
        )
    means = {name: total / count for name, (total, count) in sums.items() if count}
    for name, mean in means.items():
        if not math.isfinite(mean) or mean < 0:
            raise ValueError(
                f"the mean loss of domain {name!r} is {mean}; shares can only follow finite losses"
                " that are not negative"
            )
    total = math.fsum(means.values())
    if total == 0:
        return dict(weights)
    return normalised(
        {name: means[name] / total if name in means else weight for name, weight in weights.items()}
    )


class FixedOrder:
    """Base of the samplers whose order is known from the start: no signal, no state.

    Args:
        domains: names in training order.
        weights: share of the steps per domain, for `shares`.
        order: of each step the position of its domain in `domains`, int [steps].

    Raises:
        ValueError: the order holds anything else.
    """

    def __init__(
        self,
        domains: Sequence[str],
        weights: Mapping[str, float],
        order: NDArray[np.int16] | Sequence[int],
    ) -> None:
        order = np.asarray(order)
        if (
            order.ndim != 1
            or order.dtype.kind not in "iu"
            or (order.size and not 0 <= order.min() <= order.max() < len(domains))
        ):
            raise ValueError(
                f"the order of a sampler starts with {order.ravel()[:3].tolist()}, allowed are"
                f" positions of its domains, 0 to {len(domains) - 1}, one for each step"
            )
        self._domains, self._weights, self._order = tuple(domains), dict(weights), order

    def domain_at(self, step: int) -> str:
        """The domain of the batch of 0-based `step`.

        Raises:
            ValueError: outside the budget.
        """
        if not 0 <= step < len(self._order):
            raise ValueError(f"step {step} is outside the {len(self._order)} steps of the sampler")
        return self._domains[self._order[step]]

    def known_until(self) -> int:
        """The budget: all of it is known."""
        return len(self._order)

    def clears_at(self, step: int) -> bool:
        """False: there is no window."""
        return False

    def update(self, step: int, sums: Mapping[str, tuple[float, int]]) -> None:
        """Changes nothing: the shares are fixed."""

    def shares(self) -> dict[str, float]:
        """Share of the steps per domain."""
        return dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Empty: the order follows from what the sampler was built with."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the empty state; raises ValueError for the state of another sampler."""
        if state:
            raise ValueError(
                f"a sampler of fixed shares has no state, but got {', '.join(state)}: it belongs to"
                " another sampler"
            )

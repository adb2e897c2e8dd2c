"""One domain after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from registry import samplers
from registry.samplers.schedule import FixedOrder


@samplers.register("round_robin")
class RoundRobin(FixedOrder):
    """Every domain in turn, in their order, again and again; what remains goes to the first ones.

    Args:
        domains: names in training order.
        train_counts: training images per domain (not used).
        steps: the budget.
        seed: not used.

    Source: UDON, NeurIPS 2024; `round_robin` of the released dataset sampling.

    Example:
        >>> sampler = RoundRobin(["cars", "sop"], {"cars": 10, "sop": 90}, 5, 0)
        >>> [sampler.domain_at(step) for step in range(5)]
        ['cars', 'sop', 'cars', 'sop', 'cars']
    """

    def __init__(
        self, domains: Sequence[str], train_counts: Mapping[str, int], steps: int, seed: int
    ) -> None:
        order = np.arange(steps) % len(domains)
        super().__init__(
            domains, {name: 1 / len(domains) for name in domains}, order.astype(np.int16)
        )

"""Samplers of fixed shares in a shuffled order: uniform, proportional to size, or stated.

Each domain gets floor(steps * share) steps and the last one the rest, in an order that the seed
determines. Source: UDON, NeurIPS 2024; `balanced`, `dataset_size` and `specialist_top_steps` of the
released dataset sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from registry import samplers
from registry.samplers.schedule import FixedOrder, normalised, shuffled_order


class _Shuffled(FixedOrder):
    def __init__(
        self, domains: Sequence[str], weights: Mapping[str, float], steps: int, seed: int
    ) -> None:
        weights = normalised({name: weights[name] for name in domains})
        super().__init__(domains, weights, shuffled_order(list(weights.values()), steps, seed))


@samplers.register("uniform")
class Uniform(_Shuffled):
    """All domains equally often, in a shuffled order (`balanced` in the released code).

    Args:
        domains: names in training order.
        train_counts: training images per domain (not used).
        steps: the budget.
        seed: of the order.

    Example:
        >>> Uniform(["cars", "sop"], {"cars": 10, "sop": 90}, 100, 0).shares()
        {'cars': 0.5, 'sop': 0.5}
    """

    def __init__(
        self, domains: Sequence[str], train_counts: Mapping[str, int], steps: int, seed: int
    ) -> None:
        super().__init__(domains, dict.fromkeys(domains, 1.0), steps, seed)


@samplers.register("size_proportional")
class SizeProportional(_Shuffled):
    """Every domain as often as it has training images, in a shuffled order.

    The released code calls it `dataset_size`.

    Args:
        domains: names in training order.
        train_counts: training images per domain.
        steps: the budget.
        seed: of the order.

    Example:
        >>> SizeProportional(["cars", "sop"], {"cars": 10, "sop": 90}, 100, 0).shares()
        {'cars': 0.1, 'sop': 0.9}
    """

    def __init__(
        self, domains: Sequence[str], train_counts: Mapping[str, int], steps: int, seed: int
    ) -> None:
        super().__init__(domains, train_counts, steps, seed)


@samplers.register("fixed")
class Fixed(_Shuffled):
    """Stated shares per domain, in a shuffled order (`specialist_top_steps` in the released code).

    Args:
        domains: names in training order.
        train_counts: training images per domain (not used).
        steps: the budget.
        seed: of the order.
        shares: one number per domain; they are divided by their sum.

    Raises:
        ValueError: a domain without a share, a share without a domain, or shares that are all zero.

    Example:
        >>> images, shares = {"cars": 10, "sop": 90}, {"cars": 3, "sop": 1}
        >>> Fixed(["cars", "sop"], images, 100, 0, shares=shares).shares()
        {'cars': 0.75, 'sop': 0.25}
    """

    def __init__(
        self,
        domains: Sequence[str],
        train_counts: Mapping[str, int],
        steps: int,
        seed: int,
        *,
        shares: Annotated[
            dict[str, Annotated[float, Field(ge=0)]],
            Field(description="One number per domain; they are divided by their sum."),
        ],
    ) -> None:
        missing, extra = (
            [name for name in domains if name not in shares],
            [name for name in shares if name not in domains],
        )
        if missing or extra:
            said = [f"no share for {', '.join(missing)}"] * bool(missing) + [
                f"{', '.join(extra)} is not trained on"
            ] * bool(extra)
            raise ValueError(
                f"fixed sampler: {'; '.join(said)}; the domains are {', '.join(domains)}"
            )
        super().__init__(domains, shares, steps, seed)

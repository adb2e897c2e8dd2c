"""The dynamic sampler of UDON: domains that are learned slowest get more batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from registry import samplers
from registry.contracts import Steps
from registry.options import parse_share
from registry.samplers.schedule import shuffled_order, weights_from_losses


@samplers.register("dynamic")
class Dynamic:
    """Shares that follow each domain's mean loss, updated every `interval` steps.

    Before the first update it is round robin. At an update a domain that was seen in the window
    weighs its mean loss / the sum of the seen domains' mean losses; an unseen one keeps its weight;
    then all are divided by their sum. From the weights a schedule of the whole budget is built
    (floor; the last domain takes the rest). It is permuted with a seed derived from (seed, step),
    and read on from the current position.

    Args:
        domains: names in training order.
        train_counts: training images per domain (not used).
        steps: the budget.
        seed: of the order.
        interval: steps between two updates.
        signal: the loss that the shares follow.
        window: what the mean loss is over.
        log_interval: how often the released code logs; read by the window `since_log` alone.

    Source: UDON, NeurIPS 2024, dynamic sampling; dataset sampling of the released implementation.

    Example:
        >>> sampler = Dynamic(["cars", "sop"], {"cars": 10, "sop": 90}, 400, 0, interval="25%")
        >>> sampler.known_until(), sampler.domain_at(0), sampler.domain_at(1)
        (100, 'cars', 'sop')
        >>> sampler.update(100, {"cars": (30.0, 10), "sop": (10.0, 10)})
        >>> sampler.known_until(), sampler.shares()
        (200, {'cars': 0.75, 'sop': 0.25})
    """

    needs_signal = True

    def __init__(
        self,
        domains: Sequence[str],
        train_counts: Mapping[str, int],
        steps: int,
        seed: int,
        *,
        interval: Annotated[
            Steps, Field(description="Between two updates of the shares, at least one step.")
        ] = 1000,
        signal: Annotated[
            str,
            Field(
                description="Which loss the shares follow, by the name of its entry in `losses`."
            ),
        ] = "teacher_ce",
        window: Annotated[
            Literal["since_update", "since_log"],
            Field(
                description=(
                    "What the mean loss is over: all steps since the last update, or only those"
                    " since the released code would have "
                    "logged (after the first step, and after each that is 1 modulo `log_interval`)."
                )
            ),
        ] = "since_update",
        log_interval: Annotated[
            Steps,
            Field(
                description=(
                    "How often the released code logs (a tenth of an epoch); read by `since_log`"
                    " alone."
                )
            ),
        ] = "1%",
    ) -> None:
        self.signal = signal
        self._domains, self._steps, self._seed = tuple(domains), steps, seed
        self._interval = max(1, parse_share(interval, steps))
        self._log_interval = (
            max(1, parse_share(log_interval, steps)) if window == "since_log" else None
        )
        self._weights = {name: 1 / len(self._domains) for name in self._domains}
        self._updated = 0  # the step of the last update; 0 is none
        self._order = self._build_order()

    @staticmethod
    def unread(options: Mapping[str, Any]) -> frozenset[str]:
        """Names of the options that others leave without effect.

        Only the window `since_log` reads `log_interval`.
        """
        return frozenset() if options.get("window") == "since_log" else frozenset({"log_interval"})

    def _build_order(self) -> NDArray[np.int16]:
        if self._updated == 0:
            return (np.arange(self._steps) % len(self._domains)).astype(np.int16)
        return shuffled_order(
            list(self._weights.values()), self._steps, (self._seed, self._updated)
        )

    def domain_at(self, step: int) -> str:
        """The domain of the batch of 0-based `step`.

        Raises:
            ValueError: outside the steps from the last update to `known_until()`.
        """
        if not self._updated <= step < self.known_until():
            raise ValueError(
                f"the sampler knows steps {self._updated} to {self.known_until() - 1}, not step"
                f" {step}"
            )
        return self._domains[self._order[step]]

    def known_until(self) -> int:
        """The step of the next update, or the end of the budget."""
        # The released code counts its steps from 1, so with its window the update before step 1000
        # is before the 0-based step 999.
        shift = 0 if self._log_interval is None else 1
        return min(
            ((self._updated + shift) // self._interval + 1) * self._interval - shift, self._steps
        )

    def clears_at(self, step: int) -> bool:
        """Whether the window starts anew before 0-based `step`.

        With `since_update` that is right after the update at that step.
        """
        if step < 1:
            return False
        if self._log_interval is None:
            return step % self._interval == 0
        return step == 1 or step % self._log_interval == 1 % self._log_interval

    def update(self, step: int, sums: Mapping[str, tuple[float, int]]) -> None:
        """Take in a window before `step` is trained; the steps from there on follow it.

        Args:
            step: the 0-based step, which must be `known_until()`.
            sums: (sum of losses, samples) per domain.

        Raises:
            ValueError: `step` is not the next update, or a loss is negative or not finite.
        """
        if step != self.known_until():
            raise ValueError(
                f"the next update is before step {self.known_until()}, not before step {step}"
            )
        self._weights = weights_from_losses(self._weights, sums)
        self._updated = step
        self._order = self._build_order()

    def shares(self) -> dict[str, float]:
        """The current weight per domain."""
        return dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Weights and the step of the last update; the order follows from them."""
        return {"weights": dict(self._weights), "updated": self._updated}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            ValueError: the state is for other domains.
        """
        if set(state["weights"]) != set(self._domains):
            raise ValueError(
                f"the state is for {', '.join(state['weights'])}, the sampler for"
                f" {', '.join(self._domains)}"
            )
        self._weights = {name: float(state["weights"][name]) for name in self._domains}
        self._updated = int(state["updated"])
        self._order = self._build_order()

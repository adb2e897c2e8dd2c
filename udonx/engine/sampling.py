"""Samplers as the engine uses them.

What a sampler of a plug-in does wrong becomes an error of one sentence that names it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from registry.contracts import Batch, Sampler
from udonx.engine.errors import TrainingError, explained


class GuardedSampler:
    """A sampler whose failures are TrainingErrors with its name and line.

    Args:
        sampler: what is asked.
        use: what it is registered as.
    """

    def __init__(self, sampler: Sampler, use: str) -> None:
        self.__wrapped__, self.name = sampler, f"sampler '{use}'"

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self.name, type(self.__wrapped__))

    def domain_at(self, step: int) -> str:
        """The domain of a step."""
        with self._explained():
            return self.__wrapped__.domain_at(step)

    def known_until(self) -> int:
        """The first step whose domain is not known yet."""
        with self._explained():
            return self.__wrapped__.known_until()

    def clears_at(self, step: int) -> bool:
        """Whether the window starts anew before a step."""
        with self._explained():
            return self.__wrapped__.clears_at(step)

    def update(self, step: int, sums: Mapping[str, tuple[float, int]]) -> None:
        """Take in a window's sums (signal loss, samples) by domain."""
        with self._explained():
            self.__wrapped__.update(step, sums)

    def shares(self) -> dict[str, float]:
        """Each domain's share of the batches."""
        with self._explained():
            return self.__wrapped__.shares()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the sampler: plain data.

        Raises:
            TrainingError: it holds what could be written into a checkpoint, but not be read back.
        """
        with self._explained():
            state = self.__wrapped__.state_dict()
        if odd := next(not_plain(state, "state_dict()"), None):
            raise TrainingError(
                f"{self.name}: {odd}, which a checkpoint cannot hold; allowed are numbers, text,"
                " lists, dicts and tensors"
            )
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        with self._explained():
            self.__wrapped__.load_state_dict(state)

    def check_progress(self, step: int, steps: int) -> None:
        """Check that the sampler goes on.

        Raises:
            TrainingError: no domain is known for `step` of `steps`, though it has been updated for
                it.
        """
        if step < steps and (known := self.known_until()) <= step:
            done = f"after update({step})" if step else "at the start"
            raise TrainingError(
                f"{self.name} stands still: known_until() is {known} {done}, allowed is more than"
                f" {step}, up to {steps}"
            )


class SignalWindow:
    """What a sampler follows: the sums of its signal loss since its window began, on the device.

    Args:
        domains: the stage's domains.
        signal: the name of the loss; None where the sampler follows none.
        device: where the stage trains.

    Attributes:
        sums_D2: float64 [D, 2], per domain the sum of the loss over samples, and the samples.
    """

    def __init__(self, domains: Sequence[str], signal: str | None, device: torch.device) -> None:
        self.signal = signal
        self.sums_D2 = torch.zeros(len(domains), 2, dtype=torch.float64, device=device)
        self._row = {domain: row for row, domain in enumerate(domains)}

    def clear(self) -> None:
        """Set all sums to zero."""
        self.sums_D2.zero_()

    def add(self, batch: Batch, values: Mapping[str, Tensor]) -> None:
        """Add a batch, whose losses by name are `values`; waits for nothing."""
        if self.signal is None:
            return
        sums_2 = self.sums_D2[self._row[batch.domain]]
        sums_2[0] += values[self.signal].double() * batch.count
        sums_2[1] += batch.count

    def sums(self) -> dict[str, tuple[float, int]]:
        """(sum of the loss, samples) of the domains that had a batch; waits for the device."""
        sums_D2 = self.sums_D2.cpu().tolist()
        return {
            domain: (sums_D2[row][0], int(sums_D2[row][1]))
            for domain, row in self._row.items()
            if sums_D2[row][1]
        }


def not_plain(value: Any, where: str) -> Iterator[str]:
    """What of a state a checkpoint cannot hold.

    Args:
        value: the state, or a part of it.
        where: what it is called.
    """
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            yield from not_plain(key, f"a key of {where}")
            yield from not_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for number, item in enumerate(value):
            yield from not_plain(item, f"{where}[{number}]")
    elif type(value) not in (type(None), bool, int, float, str, Tensor):
        yield f"{where} is a {type(value).__module__}.{type(value).__qualname__}"

"""Samplers as the engine uses them: whatever one of somebody's own does wrong is one sentence that
names it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from registry.contracts import Sampler
from udonx.engine.errors import TrainingError, explained


class _Guarded:
    """A sampler whose failures are TrainingErrors with its name and line."""

    def __init__(self, sampler: Sampler, use: str) -> None:
        self.__wrapped__, self._what = sampler, f"sampler '{use}'"

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.__wrapped__, name)

        def call(*arguments: Any) -> Any:
            with explained(self._what, type(self.__wrapped__)):
                return method(*arguments)

        return call


def guarded(sampler: Sampler, use: str) -> Sampler:
    """A sampler, registered as `use`, that raises nothing but TrainingError."""
    return _Guarded(sampler, use)


def check_progress(sampler: Sampler, use: str, step: int, steps: int) -> None:
    """Raises TrainingError where a sampler knows no domain for `step`, though it has been updated
    for it.
    """
    if step < steps and (known := sampler.known_until()) <= step:
        done = f"after update({step})" if step else "at the start"
        raise TrainingError(
            f"sampler '{use}' stands still: known_until() is {known} {done}, allowed is more than"
            f" {step}, up to {steps}"
        )


def plain_state(sampler: Sampler, use: str) -> dict[str, Any]:
    """A sampler's state_dict(). Raises TrainingError for what could be written into a checkpoint,
    but not be read back.
    """
    state = sampler.state_dict()
    if odd := next(_not_plain(state, "state_dict()"), None):
        raise TrainingError(
            f"sampler '{use}': {odd}, which a checkpoint cannot hold; allowed are numbers, text,"
            " lists, dicts and tensors"
        )
    return state


def _not_plain(value: Any, where: str) -> Iterator[str]:
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            yield from _not_plain(key, f"a key of {where}")
            yield from _not_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for number, item in enumerate(value):
            yield from _not_plain(item, f"{where}[{number}]")
    elif type(value) not in (type(None), bool, int, float, str, Tensor):
        yield f"{where} is a {type(value).__module__}.{type(value).__qualname__}"

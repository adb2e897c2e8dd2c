"""The registry of samplers: which domain the next batch comes from. No sampler needs torch."""

import inspect
from typing import Any

from registry.registry import Registry

METHODS = (
    "domain_at",
    "known_until",
    "clears_at",
    "update",
    "shares",
    "state_dict",
    "load_state_dict",
)


def _facts(target: Any) -> dict[str, bool]:
    lacks = [name for name in METHODS if inspect.isclass(target) and not hasattr(target, name)]
    if lacks:
        raise TypeError(
            f"a sampler also needs the methods {', '.join(lacks)} (see Sampler in"
            " registry/contracts/protocols.py); one whose order is known from the start inherits"
            " them from registry.samplers.schedule.FixedOrder"
        )
    return {"needs_signal": bool(getattr(target, "needs_signal", False))}


registry = Registry(
    "samplers",
    positional=("domains", "train_counts", "steps", "seed"),
    builtin={
        "round_robin": "registry.samplers.round_robin",
        "uniform": "registry.samplers.shares",
        "size_proportional": "registry.samplers.shares",
        "fixed": "registry.samplers.shares",
        "dynamic": "registry.samplers.dynamic",
    },
    facts=_facts,
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe

"""The registry of searches: which values of a row's options `udonx tune` tries next.

A search is a class; see `Search` in registry/contracts/searches.py. It is made for the dimensions
of one row and the number of its trials, and raises ValueError, in one sentence, where it cannot
search them. No search is imported, and no library of one, before it is needed.
"""

import inspect
from typing import Any

from registry.registry import Registry


def _facts(target: Any) -> dict[str, Any]:
    if not (inspect.isclass(target) and callable(getattr(target, "ask", None))):
        raise TypeError(
            "a search is a class with the method ask (see Search in registry/contracts/searches.py)"
        )
    return {}


registry = Registry(
    "searches",
    positional=("space", "trials"),
    builtin={
        "grid": "registry.searches.grid",
        "random": "registry.searches.random",
        "tpe": "registry.searches.tpe",
    },
    reserved=("use", "trials", "seeds", "space"),
    checks={"tpe": "registry.searches.tpe"},
    facts=_facts,
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe

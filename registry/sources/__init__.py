"""The registry of data sources: where the images and splits of a benchmark come from.

A source is a class whose options are keys of `[data]`; see `Source` in
registry/contracts/protocols.py.
"""

import inspect
from typing import Any

from registry.registry import Registry

_METHODS = ("domains", "problems", "open")


def _facts(target: Any) -> dict[str, Any]:
    if not inspect.isclass(target):
        raise TypeError(
            "a source is a class: its options are the keyword-only parameters of __init__"
        )
    if lacks := [name for name in _METHODS if not callable(getattr(target, name, None))]:
        raise TypeError(
            f"a source also needs the methods {', '.join(lacks)} (see Source in"
            " registry/contracts/protocols.py)"
        )
    return {}


registry = Registry(
    "sources",
    builtin={
        "demo": "udonx.data.sources.demo",
        "demo_pretrain": "udonx.data.sources.demo",
        "uned": "udonx.data.sources.uned",
        "folders": "udonx.data.sources.folders",
    },
    reserved=("source", "domains", "max_unreadable", "max_pixels"),
    facts=_facts,
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe

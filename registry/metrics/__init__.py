"""The registry of retrieval metrics: the columns of a table.

A metric is a class without options that is called `(relevant_QK, relevant_Q)`; see `Metric` in
registry/contracts/protocols.py.

NumPy is imported with a component, not here.
"""

import inspect
from typing import Any

from registry.registry import Registry, RegistryError

DEFAULTS = ("r1", "mmp5")
"""What every evaluation computes, and what a table shows whose file does not say otherwise."""

_TAKEN = ("hit", "per_domain", "queries", "without_positives")


class _Metrics(Registry):
    """Refuses names that mean something else in metrics.json and per_query.npz."""

    def _check(self, name: str, target: Any) -> None:
        if name in _TAKEN or not name.isidentifier():
            raise RegistryError(
                f"{self.kind}: {name!r} cannot be the name of a metric; choose letters, digits and"
                f" underscores, and none of {', '.join(_TAKEN)}"
            )
        super()._check(name, target)


def _facts(target: Any) -> dict[str, Any]:
    if not inspect.isclass(target) or not any("__call__" in vars(base) for base in target.__mro__):
        raise TypeError(
            "a metric is a class with `label`, `depth` and __call__(self, relevant_QK, relevant_Q)"
        )
    label, depth = getattr(target, "label", None), getattr(target, "depth", None)
    if not isinstance(label, str) or not label:
        raise TypeError('a metric needs a label, the header of its column, such as label = "R@1"')
    if not hasattr(target, "depth") or (depth is not None and not _is_count(depth)):
        raise TypeError(
            "a metric needs a depth: how many neighbours it reads, at least 1, or None for as many"
            " as a query has relevant items"
        )
    if inspect.signature(target).parameters:
        raise TypeError("a metric has no options; derive a class for each depth or variant")
    count = len(inspect.signature(target.__call__).parameters) - 1
    if count != 2:
        raise TypeError(
            f"__call__ takes {count} arguments; a metric takes (relevant_QK, relevant_Q)"
        )
    return {"label": label, "depth": depth}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


registry = _Metrics(
    "metrics",
    builtin={
        "r1": "registry.metrics.recall",
        "r5": "registry.metrics.recall",
        "mmp5": "registry.metrics.precision",
        "map_r": "registry.metrics.average_precision",
        "mrr": "registry.metrics.reciprocal_rank",
    },
    reserved=(),
    facts=_facts,
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe

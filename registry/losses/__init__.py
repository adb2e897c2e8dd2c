"""The registry of losses. Torch is imported with a component, not here.

A loss is called `(branch, batch)`, or `(student, teacher, batch)` where it needs a teacher.
"""

import inspect
from typing import Any

from registry.registry import Registry


def _facts(target: Any) -> dict[str, bool]:
    if not inspect.isclass(target):
        raise TypeError(
            "a loss is a class: its options are the keyword-only parameters of __init__, its call"
            " is the maths"
        )
    if "__call__" not in vars(target) and not any(
        "__call__" in vars(base) for base in target.__mro__[:-1]
    ):
        raise TypeError(
            "a loss needs __call__(self, branch, batch) or __call__(self, student, teacher, batch)"
        )
    count = len(inspect.signature(target.__call__).parameters) - 1
    if count not in (2, 3):
        raise TypeError(
            f"__call__ takes {count} arguments; a loss takes (branch, batch) or (student, teacher,"
            " batch)"
        )
    return {"needs_teacher": count == 3}


registry = Registry(
    "losses",
    builtin={
        "ce": "registry.losses.ce",
        "kl_logit": "registry.losses.kl_logit",
        "proxy_anchor": "registry.losses.proxy_anchor",
        "relational": "registry.losses.relational",
        "supcon": "registry.losses.supcon",
    },
    reserved=("use", "weight", "on"),
    facts=_facts,
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe

"""The registry of losses. Torch is imported with a component, not here.

A loss is called `(branch, batch)`, or `(student, teacher, batch)` where it needs a teacher. One
with a state is a torch.nn.Module. One that takes a positional `context` is built with a
`LossContext`.
"""

import inspect
from typing import Any

from registry.registry import Registry, supplied_names


def _call_of(target: Any) -> tuple[str, Any]:
    """The method that does the maths; a torch.nn.Module is called through its `forward`."""
    name, call = "__call__", None
    for base in target.__mro__[:-1]:
        if (base.__module__, base.__qualname__) == ("torch.nn.modules.module", "Module"):
            name = "forward"
            call = target.forward if target.forward is not base.forward else None
            break
        if "__call__" in vars(base):
            call = target.__call__
            break
    if call is None:
        raise TypeError(
            f"a loss needs {name}(self, branch, batch) or {name}(self, student, teacher, batch)"
        )
    return name, call


def _facts(target: Any) -> dict[str, bool]:
    if not inspect.isclass(target):
        raise TypeError(
            "a loss is a class: its options are the keyword-only parameters of __init__, its call"
            " is the maths"
        )
    name, call = _call_of(target)
    count = len(inspect.signature(call).parameters) - 1
    if count not in (2, 3):
        raise TypeError(
            f"{name} takes {count} arguments; a loss takes (branch, batch) or (student, teacher,"
            " batch)"
        )
    return {"needs_teacher": count == 3, "needs_context": bool(supplied_names(target))}


registry = Registry(
    "losses",
    optional=("context",),
    builtin={
        "adaface": "registry.losses.adaface",
        "affinity": "registry.losses.affinity",
        "binary_kl": "registry.losses.binary_kl",
        "cauchy_schwarz": "registry.losses.cauchy_schwarz",
        "ce": "registry.losses.ce",
        "class_aware_distance": "registry.losses.class_aware_distance",
        "class_distance_matrix": "registry.losses.class_distance_matrix",
        "cosine_match": "registry.losses.cosine_match",
        "curricular": "registry.losses.curricular",
        "dist": "registry.losses.dist",
        "dkd": "registry.losses.dkd",
        "dynamic_arcface": "registry.losses.dynamic_arcface",
        "kl_logit": "registry.losses.kl_logit",
        "kl_standardised": "registry.losses.kl_standardised",
        "pkt": "registry.losses.pkt",
        "pml": "registry.losses.pml",
        "prior_ce": "registry.losses.prior_ce",
        "proxy_anchor": "registry.losses.proxy_anchor",
        "relational": "registry.losses.relational",
        "rkd": "registry.losses.rkd",
        "sigmoid_focal": "registry.losses.sigmoid_focal",
        "sp": "registry.losses.sp",
        "supcon": "registry.losses.supcon",
    },
    checks={"pml": "registry.losses.pml_arguments"},
    reserved=("use", "weight", "on", "ramp", "teacher"),
    facts=_facts,
)
register, get, names, describe = registry.register, registry.get, registry.names, registry.describe

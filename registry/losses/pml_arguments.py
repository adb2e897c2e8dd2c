"""What may be wrong with the options of a loss of pytorch-metric-learning.

It is apart from the loss so that a check needs no import of that library.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from registry.registry import Names, Remember, nearest

LIBRARY = "pytorch-metric-learning"

_BASE = "a base class, which computes nothing; name one of its losses"
_VIEWS = "which compares two views of every image, and a batch has one"
REFUSED: dict[str, str] = {
    "BaseLossWrapper": _BASE,
    "BaseMetricLossFunction": _BASE,
    "GenericPairLoss": _BASE,
    "CrossBatchMemory": (
        "whose memory is filled up to a number that no checkpoint holds: a run that is stopped"
        " would go on otherwise"
    ),
    "DynamicSoftMarginLoss": (
        "whose running histogram no checkpoint holds: a run that is stopped would go on otherwise"
    ),
    "HistogramLoss": (
        "which picks pairs by a list of lists: from torch 2.9 on it picks others, with a gradient"
        " of 0"
    ),
    "ManifoldLoss": "which reads no labels: it draws a class for every image",
    "MultipleLosses": "which combines losses; give the row several losses instead",
    "SelfSupervisedLoss": _VIEWS,
    "SmoothAPLoss": (
        "which needs equally many images of every class in a batch, sorted by class; batches are"
        " drawn from all images"
    ),
    "VICRegLoss": _VIEWS,
}
"""Losses of the library that cannot be trained here, each with the reason."""

FILLED = ("num_classes", "embedding_size", "descriptors_dim")
"""Arguments that the run knows: the classes of a domain, and the dimension of the embedding."""

_OBJECTS = (
    "distance",
    "embedding_regularizer",
    "reducer",
    "weight_init_func",
    "weight_regularizer",
)


def problems(options: Mapping[str, Any], remember: Remember) -> Iterator[tuple[str, str]]:
    """What is wrong with the options of a loss of the library, found without importing it.

    The library may be absent, the loss one that it lacks or that cannot be trained here, a kwarg
    one that the loss does not take.

    Args:
        options: the options of the loss, complete.
        remember: keeps the names that the library has between runs, for it is slow to import.

    Yields:
        (key, sentence) of each problem.
    """
    if importlib.util.find_spec("pytorch_metric_learning") is None:
        yield "use", f"which needs {LIBRARY}; install it with pip install 'udonx[metric]'"
        return
    name, names = options["loss"], remember(LIBRARY, _arguments_of_losses)
    if name in REFUSED:
        yield "loss", REFUSED[name]
    elif name not in names:
        close = nearest(name, names)
        hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(names)}"
        yield "loss", f"which {LIBRARY} does not have; {hint}"
    else:
        for key in options.get("kwargs") or {}:
            if why := _refusal(key, name, names[name]):
                yield f"kwargs.{key}", why


def _refusal(key: str, name: str, arguments: list[str]) -> str | None:
    """Why a loss cannot be given an argument; None where it can."""
    if key in FILLED:
        return "which the run sets itself, from the classes of each domain and from the head"
    if key in _OBJECTS:
        return "but it takes an object of Python, which a file cannot name; leave it out"
    if key in arguments:
        return None
    allowed = ", ".join(one for one in arguments if one not in FILLED) or "none"
    close = nearest(key, arguments, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"which {name} does not take; {hint}allowed: {allowed}"


def _arguments_of_losses() -> Names:
    """The losses of the library that can be trained here, each with what it is built from."""
    from pytorch_metric_learning import losses

    return {
        name: arguments_of(value)
        for name, value in sorted(vars(losses).items())
        if inspect.isclass(value)
        and issubclass(value, losses.BaseMetricLossFunction)
        and name not in REFUSED
    }


def arguments_of(target: type) -> list[str]:
    """What a loss of the library and the losses that it extends are built from.

    What all losses have in common is left out.
    """
    found: set[str] = set()
    for base in target.__mro__:
        shared = base.__name__ in REFUSED or base.__name__.endswith("Mixin")
        if base.__module__.startswith("pytorch_metric_learning.losses.") and not shared:
            found.update(
                parameter.name
                for parameter in inspect.signature(base).parameters.values()
                if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            )
    return sorted(found)

"""Which tensors of a model its sources have too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from registry.contracts import NamedTensors

EMBEDDING = ("backbone.", "student_head.")
"""How the names of what embeds an image begin; the rest is there for training."""


def only_source(use: str, sources: Sequence[NamedTensors]) -> NamedTensors:
    """The source of an init that takes one.

    Raises:
        ValueError: there are several.
    """
    if len(sources) != 1:
        raise ValueError(
            f"init '{use}' takes one row, got {len(sources)}; name one in `from`, or use 'average'"
        )
    return sources[0]


def matching_tensors(
    use: str, model: NamedTensors, sources: Sequence[NamedTensors]
) -> list[tuple[Any, list[Any]]]:
    """The tensors of a model that all of its sources have too, in the same shape.

    All that embeds is among them. Heads of teachers and class columns match by their domain.

    Args:
        use: the name of the init, for its error.
        model: the new model.
        sources: what it starts from.

    Returns:
        Each tensor of the model, and those of the sources in their order.

    Raises:
        ValueError: the backbone or the student head of a source is another.
    """
    ours, theirs = model.named_tensors(), [source.named_tensors() for source in sources]
    for number, tensors in enumerate(theirs, start=1):
        _check_embedding(use, ours, tensors, number)
    return [
        (tensor, [tensors[name] for tensors in theirs])
        for name, tensor in ours.items()
        if all(name in tensors and tensors[name].shape == tensor.shape for tensors in theirs)
    ]


def _check_embedding(use: str, ours: dict[str, Any], theirs: dict[str, Any], number: int) -> None:
    """Refuse a source whose backbone or student head is another.

    A model without a student head to take over, such as one whose head is fitted, needs none.
    """
    parts = tuple(part for part in EMBEDDING if any(name.startswith(part) for name in ours))
    own, its = _shapes(ours, parts), _shapes(theirs, parts)
    for name in {**own, **its}:
        if own.get(name) != its.get(name):
            here, there = (shapes.get(name, "missing") for shapes in (own, its))
            raise ValueError(
                f"init '{use}' needs rows of the same backbone and student head, but '{name}' is"
                f" {here} in this row and {there} in the one that `from` names at place {number};"
                " name rows of this backbone and student_head; of a wider or deeper one, 'inherit'"
                " takes a slice"
            )


def _shapes(tensors: dict[str, Any], parts: tuple[str, ...]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in tensors.items() if name.startswith(parts)}

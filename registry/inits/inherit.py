"""A smaller model out of the weights of a larger one of the same family.

Source: TinyCLIP, ICCV 2023 ("weight inheritance", manual): blocks at even distances from the front,
leading channels of each layer, whole attention heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from registry import inits
from registry.contracts import NamedTensors, Positive
from registry.inits.matching import only_source

Depth = Literal["interval_front", "even"]

_FUSED = {"qkv": 3, "kv": 2}
"""Layers that hold several matrices one above the other, and how many."""


@inits.register("inherit")
def inherit(
    model: NamedTensors,
    sources: Sequence[NamedTensors],
    *,
    depth: Annotated[
        Depth,
        Field(
            description=(
                "Which blocks of a deeper row are taken: `interval_front` every k-th from the"
                " first, k the quotient of the depths rounded down, as TinyCLIP does (9 of 12 are"
                " the first nine); `even` spreads them over the whole depth."
            )
        ),
    ] = "interval_front",
    head_dim: Annotated[
        Positive,
        Field(
            description=(
                "Width of an attention head, the same in both models: the narrower one takes whole"
                " heads."
            ),
            json_schema_extra={"unit": "dimensions"},
        ),
    ] = 64,
) -> None:
    """Leading slices of a wider or deeper row's weights, into a backbone of the same family.

    Student head, teacher heads and class columns are sliced too where the row has them; else they
    start anew.
    """
    source = only_source("inherit", sources)
    ours, theirs = model.named_tensors(), source.named_tensors()
    names = _source_names(ours, theirs, depth)
    for name, tensor in ours.items():
        there = theirs.get(names[name])
        stacked, whole = _stacked(name, ours), head_dim if _fused(name) > 1 else 1
        part = None if there is None else leading_part(name, there, tensor.shape, stacked, whole)
        if part is not None:
            tensor.copy_(part)
        elif name.startswith("backbone."):
            has = "nothing" if there is None else list(there.shape)
            if _other_positions(name, tensor, there):
                raise ValueError(
                    f"init 'inherit' needs a row that sees images of the same size, but for"
                    f" '{name}' {list(tensor.shape)} it has {has}; give both the same"
                    " transform.crop"
                )
            raise ValueError(
                f"init 'inherit' needs a row whose backbone is of the same family and as wide and"
                f" deep or more, but for '{name}' {list(tensor.shape)} it has {has}; name another"
                f" row, or set head_dim (now {head_dim}) to the width of its attention heads"
            )


def _other_positions(name: str, ours: Any, theirs: Any) -> bool:
    """Whether two tensors are embeddings of different numbers of positions."""
    return "pos_embed" in name and theirs is not None and theirs.shape[:-1] != ours.shape[:-1]


def inherited_blocks(there: int, here: int, depth: Depth) -> list[int]:
    """Which of `there` blocks a model of `here` blocks takes.

    Example:
        >>> inherited_blocks(12, 5, "interval_front"), inherited_blocks(12, 5, "even")
        ([0, 2, 4, 6, 8], [0, 2, 4, 7, 9])
    """
    if depth == "even":
        return [block * there // here for block in range(here)]
    return [block * (there // here) for block in range(here)]


def leading_part(name: str, theirs: Any, shape: Sequence[int], stacked: int, whole: int) -> Any:
    """The leading slice of a tensor that has a shape; None where there is none.

    Channels are sliced, not the pixels of a kernel, the positions of an embedding, or classes. Of a
    layer of several matrices, such as queries, keys and values, each is sliced for itself.

    Args:
        name: the tensor's.
        theirs: the larger tensor.
        shape: that of the slice.
        stacked: how many matrices it holds one above the other.
        whole: rows of them that are taken together: those of an attention head.
    """
    shape = list(shape)
    if stacked == 1 or theirs.ndim != len(shape):
        return _slice(theirs, shape, _channels(name, len(shape)))
    rows, wanted = theirs.shape[0] // stacked, shape[0] // stacked
    if rows != wanted and (rows % whole or wanted % whole):
        return None
    part = _slice(theirs.unflatten(0, (stacked, rows)), [stacked, wanted, *shape[1:]], {1, 2})
    return None if part is None else part.reshape(shape)


def _fused(name: str) -> int:
    """How many of queries, keys and values a layer holds."""
    return next((count for layer, count in _FUSED.items() if f".{layer}." in name), 1)


def _stacked(name: str, tensors: Mapping[str, Any]) -> int:
    """How many matrices a layer holds one above the other.

    A gated MLP holds gates and values in its first layer, which is then twice as wide as what its
    second takes.
    """
    layer, first, _ = name.rpartition(".fc1.")
    second = tensors.get(f"{layer}.fc2.weight") if first else None
    return _fused(name) if second is None else tensors[name].shape[0] // second.shape[1]


def _channels(name: str, dimensions: int) -> set[int]:
    """The dimensions of a tensor that are channels, in and out."""
    by_position = "pos_embed" in name or "position" in name or dimensions == 3
    return {dimensions - 1} if by_position or "_classifiers." in name else {0, 1}


def _slice(theirs: Any, shape: list[int], channels: set[int]) -> Any:
    """The leading slice of a shape; None where the tensor is smaller or differs elsewhere."""
    fits = theirs.ndim == len(shape) and all(
        wanted == size or (wanted < size and axis in channels)
        for axis, (size, wanted) in enumerate(zip(theirs.shape, shape, strict=True))
    )
    return theirs[tuple(slice(size) for size in shape)] if fits else None


def _source_names(ours: Iterable[str], theirs: Iterable[str], depth: Depth) -> dict[str, str]:
    """What each of our tensors is called in the source, whose backbone may have more blocks."""
    here, there = _sequences(ours), _sequences(theirs)
    return {
        name: _source_name(name, here, there, depth) if name.startswith("backbone.") else name
        for name in ours
    }


def _sequences(names: Iterable[str]) -> dict[str, list[int]]:
    """The numbers of the members of every sequence, such as blocks, by the sequence's name."""
    found: dict[str, set[int]] = {}
    for name in names:
        parts = name.split(".")
        for position, part in enumerate(parts):
            if part.isdigit():
                found.setdefault(".".join(parts[:position]), set()).add(int(part))
    return {name: sorted(numbers) for name, numbers in found.items()}


def _source_name(
    name: str, here: Mapping[str, list[int]], there: Mapping[str, list[int]], depth: Depth
) -> str:
    """A tensor's name with the blocks of the source, sequences within sequences included."""
    own: list[str] = []
    found: list[str] = []
    for part in name.split("."):
        chosen = part
        if part.isdigit():
            numbers, others = here[".".join(own)], there.get(".".join(found), [])
            if len(others) >= len(numbers):
                blocks = inherited_blocks(len(others), len(numbers), depth)
                chosen = str(others[blocks[numbers.index(int(part))]])
        own.append(part)
        found.append(chosen)
    return ".".join(found)

"""Typed options that Python and the command line share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from udonx.common.words import did_you_mean


def evolve_each(changes: Mapping[str, Any], *parts: Any) -> tuple[Any, ...]:
    """Each of `parts`, with those of `changes` that are its fields.

    Args:
        changes: values by the name of a field.
        parts: instances of attrs classes that have no field in common.

    Raises:
        TypeError: a change is a field of none of them.

    >>> @attrs.frozen
    ... class Size:
    ...     width: int = 1
    >>> evolve_each({"width": 2}, Size())
    (Size(width=2),)
    """
    names = [{field.name for field in attrs.fields(type(part))} for part in parts]
    known = set().union(*names)
    for name in changes:
        if name not in known:
            raise TypeError(
                f"there is no option {name!r}{did_you_mean(name, known) or ';'} there are"
                f" {', '.join(sorted(known))}"
            )
    return tuple(
        attrs.evolve(part, **{name: changes[name] for name in changes.keys() & own})
        for part, own in zip(parts, names, strict=True)
    )


def as_tuple(value: str | Iterable[Any]) -> tuple[Any, ...]:
    """Several values, or a single text, as a tuple.

    >>> as_tuple("udon"), as_tuple(["udon", "baseline"])
    (('udon',), ('udon', 'baseline'))
    """
    return (value,) if isinstance(value, str) else tuple(value)


def convert_fields(options: Any, **converters: Callable[[Any], Any]) -> None:
    """Put what converters make of them in the place of fields, but for those that are None.

    For `__attrs_post_init__` of a frozen class whose fields are read by the command line. With
    converters of attrs the fields would have the types of the converters' parameters there.

    Args:
        options: an instance of a frozen attrs class.
        converters: what to call with the value of a field, by its name.
    """
    for name, convert in converters.items():
        if (value := getattr(options, name)) is not None:
            object.__setattr__(options, name, convert(value))

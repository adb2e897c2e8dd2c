"""The options of a component, as its signature declares them.

Their types are a closed language, in plain data.

The keyword-only parameters of a component are its options. Validation, `udonx components` and the
JSON schema all read the `Option` that `options_of` derives here.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs

_BOUNDS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern")
_SIGNS = {
    "gt": ">",
    "ge": ">=",
    "lt": "<",
    "le": "<=",
    "multiple_of": "a multiple of",
    "min_length": "of length >=",
    "max_length": "of length <=",
}
_SCALARS: dict[Any, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    Path: "path",
    type(None): "none",
}


class Cadence:
    """Marks a number of steps or a share of a budget in an annotation.

    Steps are `400`, a share is `"20%"` or `"2/7"`; see `registry.contracts.Steps`.
    """


def parse_share(value: int | float | str, total: int) -> int:
    """Steps that a cadence stands for.

    Args:
        value: an int is steps; `"20%"` and `"2/7"` are shares of `total`.
        total: steps of the whole budget.

    Returns:
        Steps, a share rounded to nearest.

    Raises:
        ValueError: `value` is neither.

    Example:
        >>> parse_share("20%", 400), parse_share("2/7", 70), parse_share(5, 400)
        (80, 20, 5)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"{value} is negative")
        return value
    text = str(value).strip()
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
        else:
            above, below = text.split("/")
            share = int(above) / int(below)
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"{value!r} is neither steps (400) nor a share of the budget ('20%', '2/7')"
        ) from None
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r} is not between 0% and 100%")
    return round(share * total)


@attrs.frozen(kw_only=True)
class Option:
    """One option of a component, as plain data.

    Attributes:
        name: the keyword-only parameter.
        type: the description of its type (see `type_of`).
        required: whether it has no default.
        default: the default as plain data; None where it is required.
        doc: one sentence, from the annotation; empty where it has none.
        unit: a word or two, from the annotation; empty where it has none.
    """

    name: str
    type: dict[str, Any]
    required: bool
    default: Any = None
    doc: str = ""
    unit: str = ""

    def format_type(self) -> str:
        """The type as a person reads it: `float > 0`, `one of 'normface', 'cosface'`."""
        return format_type(self.type)


def type_of(annotation: Any) -> dict[str, Any]:
    """Plain-data description of an option's annotation.

    Allowed are bool, int, float, str, Path, Literal, `X | Y`, tuple, list and dict of these,
    `Annotated` with pydantic `Field` bounds, and `registry.contracts.Steps`.

    Raises:
        TypeError: another annotation.
    """
    if annotation in _SCALARS:
        return {"type": _SCALARS[annotation]}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:])
    if origin is Literal:
        return {"type": "literal", "values": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"type": "union", "of": [type_of(item) for item in arguments]}
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return {"type": "list", "of": type_of(arguments[0])}
        return {"type": "tuple", "of": [type_of(item) for item in arguments]}
    if origin is list:
        return {"type": "list", "of": type_of(arguments[0])}
    if annotation is dict:
        return {"type": "dict", "of": None}
    if origin is dict and arguments[0] is str:
        return {"type": "dict", "of": None if arguments[1] is Any else type_of(arguments[1])}
    raise TypeError(
        f"{annotation!r} is not allowed; use bool, int, float, str, Path, Literal, or a tuple, list"
        " or dict of these"
    )


def _annotated(inner: Any, extras: tuple[Any, ...]) -> dict[str, Any]:
    """The description of `Annotated[inner, *extras]`: the inner type with its bounds."""
    if Cadence in extras:
        return {"type": "steps"}
    bounds = {
        bound: value
        for extra in extras
        for item in getattr(extra, "metadata", [extra])
        for bound in _BOUNDS
        if (value := getattr(item, bound, None)) is not None
    }
    described = type_of(inner)
    return {**described, "bounds": bounds} if bounds else described


def description_and_unit(annotation: Any) -> tuple[str, str]:
    """What an annotation says of its option in words.

    Both stand in a pydantic `Field`; where an annotation has several, the outer one counts.

    Returns:
        (sentence, unit), each empty where the annotation says nothing.

    Example:
        >>> from pydantic import Field
        >>> about = {"description": "Edge of the crop.", "json_schema_extra": {"unit": "pixels"}}
        >>> description_and_unit(Annotated[int, Field(gt=0, **about)])
        ('Edge of the crop.', 'pixels')
    """
    doc, unit = "", ""
    extras = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is Annotated else ()
    for extra in extras:
        doc = getattr(extra, "description", None) or doc
        unit = (getattr(extra, "json_schema_extra", None) or {}).get("unit", unit)
    return doc, unit


def first_paragraph(target: Any) -> str:
    """The first paragraph of the docstring of a class or function, on one line.

    It is empty where there is none.
    """
    return " ".join((inspect.getdoc(target) or "").strip().split("\n\n")[0].split())


def format_type(spec: Mapping[str, Any]) -> str:
    """A type description in words.

    Example:
        >>> format_type({"type": "float", "bounds": {"gt": 0}})
        'float > 0'
    """
    kind = spec["type"]
    if kind == "literal":
        values = [
            str(value).lower() if isinstance(value, bool) else repr(value)
            for value in spec["values"]
        ]
        words = ("one of " if len(values) > 1 else "") + ", ".join(values)
    elif kind == "union":
        # what may be left out: TOML has no null
        words = " or ".join(format_type(item) for item in spec["of"] if item["type"] != "none")
    elif kind == "list":
        words = f"list of {format_type(spec['of'])}"
    elif kind == "tuple":
        words = "[" + ", ".join(format_type(item) for item in spec["of"]) + "]"
    elif kind == "dict":
        words = "table" + ("" if spec["of"] is None else f" of {format_type(spec['of'])}")
    elif kind == "steps":
        words = "steps (400) or a share ('20%', '2/7')"
    else:
        words = {"bool": "true or false", "str": "text", "none": "nothing"}.get(kind, kind)
    bounds = " and ".join(
        f"{_SIGNS.get(bound, bound)} {limit}" for bound, limit in spec.get("bounds", {}).items()
    )
    return f"{words} {bounds}".rstrip()


def options_of(target: Any, names: Container[str] | None = None) -> tuple[Option, ...]:
    """The keyword-only parameters of a class's `__init__`, or of a function, as options.

    Args:
        target: the class or function.
        names: only the parameters of these names; None for all.

    A field of a table that a Python keyword would name has an underscore behind it: `from_`.

    Raises:
        TypeError: a parameter without annotation, or of a type that is not allowed.
    """
    init = target.__init__ if inspect.isclass(target) else target
    if init is object.__init__:
        return ()
    hints = typing.get_type_hints(target if attrs.has(target) else init, include_extras=True)
    return tuple(
        _option(target, parameter, hints)
        for parameter in inspect.signature(init).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and (names is None or parameter.name in names)
    )


def _option(target: Any, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Option:
    if parameter.name not in hints:
        raise TypeError(f"option {parameter.name!r} has no type annotation")
    hint = hints[parameter.name]
    try:
        described = type_of(hint)
    except TypeError as error:
        raise TypeError(f"option {parameter.name!r}: {error}") from None
    doc, unit = description_and_unit(hint)
    return Option(
        name=parameter.name.removesuffix("_") if attrs.has(target) else parameter.name,
        type=described,
        required=parameter.default is parameter.empty,
        default=_plain_default(target, parameter),
        doc=doc,
        unit=unit,
    )


def _plain_default(target: Any, parameter: inspect.Parameter) -> Any:
    """The default as TOML or JSON can hold it; None where there is none."""
    default = parameter.default
    if attrs.has(target):
        # a factory stands in the signature as a marker; the field knows how to call it
        default = getattr(attrs.fields(target), parameter.name).default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class, not a function
            default = default.factory()
    if default is parameter.empty or default is attrs.NOTHING:
        return None
    if isinstance(default, tuple):
        return list(default)
    return str(default) if isinstance(default, Path) else default

"""From option descriptions to pydantic.

One derivation for components and for the typed tables, and its errors in our words.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    create_model,
)

from registry.options import Option, format_type, options_of, parse_share
from udonx.common.words import format_value, unknown

_SCALARS: dict[str, Any] = {
    "bool": Annotated[bool, Strict()],
    "int": Annotated[int, Strict()],
    "float": Annotated[float, Strict()],
    "str": Annotated[str, Strict()],
    "path": Path,
    "none": None,
}


def _steps(value: int | str) -> int | str:
    parse_share(value, 1000)
    return value


def annotation(spec: dict[str, Any]) -> Any:
    """The Python annotation that a type description stands for.

    It is the inverse of `registry.options.type_of`.
    """
    kind = spec["type"]
    built: Any
    if kind == "literal":
        built = Literal[tuple(spec["values"])]
    elif kind == "union":
        built = functools.reduce(operator.or_, (annotation(item) for item in spec["of"]))
    elif kind == "list":
        built = GenericAlias(list, annotation(spec["of"]))
    elif kind == "tuple":
        built = GenericAlias(tuple, tuple(annotation(item) for item in spec["of"]))
    elif kind == "dict":
        values = Any if spec["of"] is None else annotation(spec["of"])
        built = GenericAlias(dict, (str, values))
    elif kind == "steps":
        built = Annotated[
            Annotated[int, Strict()] | Annotated[str, Strict()], AfterValidator(_steps)
        ]
    else:
        built = _SCALARS[kind]
    return Annotated[built, Field(**spec["bounds"])] if spec.get("bounds") else built


def model_of(options: tuple[Option, ...]) -> type[BaseModel]:
    """A pydantic model that accepts exactly these options."""
    fields: dict[str, Any] = {}
    for option in options:
        hint = annotation(option.type)
        if not option.required and option.default is None:
            hint = hint | None
        fields[option.name] = (hint, ... if option.required else option.default)
    return create_model(
        "Options",
        __config__=ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False),
        **fields,
    )


_models: dict[str, type[BaseModel]] = {}


def _remembered(options: tuple[Option, ...]) -> type[BaseModel]:
    """The result of `model_of`, made once.

    Rows ask for the same few models again and again, and pydantic takes a millisecond for each.
    """
    key = repr(options)
    if key not in _models:
        _models[key] = model_of(options)
    return _models[key]


@functools.cache
def table_options(cls: type) -> tuple[Option, ...]:
    """The options of a typed table: an attrs class with keyword-only fields."""
    return options_of(cls)


def validate(
    options: tuple[Option, ...], values: Any, also: Iterable[str] = ()
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Complete values with defaults, and find what is wrong with them.

    Args:
        options: what is allowed.
        values: what a person gives.
        also: keys that are allowed beside the options, for the sentence about unknown ones.

    Returns:
        The values as plain data, ready for TOML or JSON, and (key, sentence) of each problem. The
        key is empty where `values` is no table.
    """
    if not isinstance(values, dict):
        return {}, [("", f"got {format_value(values)}, allowed is a table")]
    try:
        model = _remembered(options).model_validate(values)
    except ValidationError as error:
        return {}, list(dict.fromkeys(_problems(error, options, also)))
    plain = {}
    for option in options:
        plain[option.name] = _plain(getattr(model, option.name))
    return plain, []


def _plain(value: Any) -> Any:
    """A validated value as it can stand in TOML and JSON."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _problems(
    error: ValidationError, options: tuple[Option, ...], also: Iterable[str]
) -> Iterator[tuple[str, str]]:
    by_name = {option.name: option for option in options}
    for item in error.errors(include_url=False, include_context=False):
        name, got = str(item["loc"][0]), format_value(item["input"])
        option = by_name.get(name)
        if option is None:
            yield name, f"got {got}, but this is an {unknown(name, {*by_name, *also})}"
        elif item["type"] == "missing":
            yield name, f"is missing; it must be {format_type(option.type)}"
        else:
            yield name, f"got {got}, allowed is {format_type(option.type)}"

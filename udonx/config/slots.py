"""The merged keys of a row, validated and typed: plain values, tables, slots of components."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import attrs

from registry.contracts import (
    ComponentSpec,
    HeadSpec,
    LossSpec,
    Recipe,
    RowInit,
    RowSpec,
    Scheme,
)
from registry.registry import RegistryError
from udonx.common.words import dotted_key, format_value, unknown
from udonx.config import descriptions as components
from udonx.config.keys import (
    COMMON,
    KIND_TABLES,
    OPTIONAL_SLOTS,
    OWN_KEYS,
    PLAIN_KEYS,
    RECIPE_KEYS,
    SLOT_DEFAULTS,
    SLOT_KEYS,
    TABLES,
    LossSlot,
    RowOptions,
)
from udonx.config.layers import RowLayers
from udonx.config.merge import Layer
from udonx.config.problems import Problem
from udonx.config.specs import spec_of
from udonx.config.teachers import read_teachers
from udonx.config.typed import table_options, validate

_Typed = TypeVar("_Typed")


def read_scheme(row: RowLayers) -> ComponentSpec | None:
    """The scheme that a row names; None where it has a problem."""
    value = row.scheme()
    if value is not None:
        return _component(row, "scheme", value)
    names = components.registry_of("schemes").names()
    row.problem("scheme", f"is missing; it must be one of {', '.join(names)}")
    return None


def read_row(
    row: RowLayers, scheme_spec: ComponentSpec, scheme: Scheme
) -> tuple[RowOptions, RowSpec]:
    """A row's merged keys as typed values.

    A key with a problem, which `row.broken` names, has its default, so that what stands beside it
    can be judged too.
    """
    allowed = COMMON | scheme.slots
    values = _plain_keys(row, allowed)
    values |= {key: _table(row, key) for key in TABLES if key in allowed}
    values |= {key: _slot(row, key, allowed) for key in SLOT_KEYS if key in allowed - {"scheme"}}
    if "losses" in allowed:
        values["losses"] = _losses(row)
        values["teachers"] = read_teachers(row)
    sound = {key: value for key, value in values.items() if value is not None}
    sound["scheme"] = scheme_spec
    if RECIPE_KEYS & allowed:
        sound["recipe"] = _build(Recipe, sound)
    return _build(RowOptions, sound), _build(RowSpec, sound)


def _build(cls: type[_Typed], values: dict[str, Any]) -> _Typed:
    """An attrs class from those of the values that are fields of it."""
    own = attrs.fields_dict(cls)  # type: ignore[arg-type]  # attrs classes have no common type
    return cls(**{name: value for name, value in values.items() if name in own})


def _plain_keys(row: RowLayers, allowed: frozenset[str]) -> dict[str, Any]:
    options = tuple(option for option in PLAIN_KEYS if option.name in allowed)
    names = {option.name for option in options}
    given = {key: value for key, value in row.merged.data.items() if key in names}
    plain, found = validate(options, given)
    if found:
        for key, message in found:
            row.problem(key, message)
        wrong = {key for key, _ in found}
        plain = validate(options, {key: value for key, value in given.items() if key not in wrong})[
            0
        ]
    return _with_tuples(plain)


def _table(row: RowLayers, key: str) -> Any:
    value = row.merged.data.get(key, {})
    plain, found = validate(table_options(TABLES[key]), value)
    for name, message in found:
        row.problem(dotted_key(key, name), message)
    return None if found else TABLES[key](**_with_tuples(plain))


def _with_tuples(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain values as typed classes hold them: a list is a tuple there."""
    return {key: tuple(item) if isinstance(item, list) else item for key, item in plain.items()}


def _slot(row: RowLayers, key: str, allowed: frozenset[str]) -> ComponentSpec | None:
    value = row.merged.data.get(key, SLOT_DEFAULTS.get(key))
    if value is not None:
        return _component(row, key, value)
    if key in OPTIONAL_SLOTS:
        return None
    kind = SLOT_KEYS[key][0]
    names = (
        [name for fitted in head_kinds(allowed) for name in heads(fitted=fitted)]
        if kind == "heads"
        else components.registry_of(kind).names()
    )
    removed = key in row.merged.origin
    lacks = "got false, but this row cannot be without it" if removed else "is missing"
    row.problem(key, f"{lacks}; it must name one of {', '.join(names)}")
    return None


def _losses(row: RowLayers) -> tuple[LossSpec, ...]:
    losses = row.merged.data.get("losses", {})
    if not isinstance(losses, dict):
        row.problem(
            "losses",
            f"got {format_value(losses)}, allowed are named tables, [rows.{row.name}.losses.NAME]",
        )
        return ()
    for key in sorted(losses.keys() & {option.name for option in table_options(LossSlot)}):
        message = (
            f"got {format_value(losses[key])}, but '{key}' is a key of a loss, no name of one;"
            f" write losses.NAME = {{ {key} = ... }}"
        )
        row.problem(f"losses.{key}", message)
    return tuple(
        _loss(spec)
        for name, entry in losses.items()
        if isinstance(spec := _component(row, f"losses.{name}", entry), LossSpec)
    )


def _loss(spec: LossSpec) -> LossSpec:
    """A loss that needs no teacher is the student's, unless it says whose it is."""
    if components.describe("losses", spec.use).facts["needs_teacher"]:
        return spec
    return attrs.evolve(spec, on=spec.on or "student")


def _component(row: RowLayers, key: str, value: Any) -> ComponentSpec | None:
    """The component that the value of a slot names, with its options.

    It is None where something is wrong with it.
    """
    kind = "losses" if key.startswith("losses.") else SLOT_KEYS[key][0]
    value = {"use": value} if isinstance(value, str) else value
    if not isinstance(value, dict):
        row.problem(key, f"got {format_value(value)}, allowed is a name or a table with 'use'")
        return None
    own_options = table_options(OWN_KEYS[kind])
    own_names = {option.name for option in own_options}
    given = {name: item for name, item in value.items() if name in own_names}
    own, found = validate(own_options, given)
    for name, message in found:
        row.problem(f"{key}.{name}", message)
    use = value.get("use", own.get("use"))
    if not isinstance(use, str):
        return None
    try:
        component = components.describe(kind, use)
    except RegistryError:
        names = components.registry_of(kind).names()
        what = unknown(use, names, f"component of {kind}")
        row.problem(f"{key}.use", f"got {format_value(use)}, which is an {what}")
        return None
    defaults = row.layers.defaults_of_kind.get(kind, {}).get(use, {})
    given = {name: item for name, item in value.items() if name not in own_names}
    options, more = validate(component.options, {**defaults, **given}, also=own_names)
    if not (found or more):
        more = components.own_problems(kind, use, {**own, **options})
    for name, message in more:
        row.problem(f"{key}.{name}", message)
    if found or more:
        return None
    try:
        spec = spec_of(component, options)
    except RegistryError as error:
        row.problem(key, str(error))
        return None
    return _with_own_keys(spec, kind, key, own)


def _with_own_keys(spec: ComponentSpec, kind: str, key: str, own: dict[str, Any]) -> ComponentSpec:
    """The spec of a component as that of its slot, which has keys of its own."""
    parts = attrs.asdict(spec, recurse=False)
    if kind == "heads":
        return HeadSpec(dim=own["dim"], **parts)
    if kind == "inits":
        rows = own["from"]
        return RowInit(rows=(rows,) if isinstance(rows, str) else tuple(rows), **parts)
    if kind == "losses":
        name = key.removeprefix("losses.")
        given = {key: own[key] for key in ("weight", "on", "ramp", "teacher")}
        return LossSpec(name=name, **given, **parts)
    return spec


def head_kinds(slots: frozenset[str]) -> tuple[bool, ...]:
    """Whether the heads of rows with these slots may be fitted (True) or trained (False).

    A scheme that trains has trained ones, one that takes a trained row over may fit one in place
    of its head, and any other has fitted ones alone.
    """
    if "losses" in slots:
        return (False,)
    return (False, True) if "init" in slots else (True,)


def heads(*, fitted: bool) -> list[str]:
    """The heads that are fitted on features, or those that are trained."""
    names = components.registry_of("heads").names()
    return [name for name in names if components.describe("heads", name).facts["fitted"] == fitted]


def check_kind_tables(
    layers: Iterable[Layer], problems: list[Problem]
) -> dict[str, dict[str, dict[str, Any]]]:
    """New defaults of components that settings give ([KIND.NAME]), merged, parents first.

    Unknown names and options become problems.
    """
    merged: dict[str, dict[str, dict[str, Any]]] = {}
    for layer in layers:
        for kind in KIND_TABLES:
            tables = layer.data.get(kind, {})
            for name, options in tables.items() if isinstance(tables, dict) else ():
                found = _defaults_problems(kind, name, options)
                problems += [
                    Problem(
                        where=layer.where,
                        key=dotted_key(layer.prefix, kind, name, key),
                        message=message,
                    )
                    for key, message in found
                ]
                if not found:
                    merged.setdefault(kind, {}).setdefault(name, {}).update(options)
    return merged


def _defaults_problems(kind: str, name: str, options: Any) -> list[tuple[str, str]]:
    """What is wrong with new defaults of a component, as (option, sentence)."""
    if name not in (names := components.registry_of(kind).names()):
        return [("", f"this is an {unknown(name, names, f'component of {kind}')}")]
    allowed = tuple(
        attrs.evolve(option, required=False) for option in components.describe(kind, name).options
    )
    return validate(allowed, options)[1]

"""The JSON schema of an experiment file, derived from the same declarations that validate it. For editors."""

from __future__ import annotations

from typing import Any

from registry.catalog import Option
from udonx import components
from udonx.config.keys import (
    KIND_TABLES,
    SETTING_KEYS,
    SLOT_KEYS,
    TABLES,
    DataOptions,
    FileOptions,
    LossSlot,
    PlainKeys,
    ResultOptions,
    StartOptions,
)
from udonx.config.typed import model_of, table_options

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def experiment_schema() -> dict[str, Any]:
    """A JSON schema (draft 2020-12) that accepts every valid experiment file: keys, types, bounds, components with their options."""
    row = _row()
    return {
        "$schema": _DRAFT,
        "title": "udonx experiment",
        "type": "object",
        "properties": {
            **_object("file", table_options(FileOptions))["properties"],
            "setting": {"oneOf": [{"type": "string"}, _setting(row)]},
            "defaults": row,
            "rows": {"type": "object", "additionalProperties": {"oneOf": [row, {"const": False}]}},
            "results": _object("results", table_options(ResultOptions)),
        },
        "anyOf": [{"required": ["rows"], "properties": {"rows": {"minProperties": 1}}}, {"required": ["inherit"]}],
        "additionalProperties": False,
    }


def setting_schema() -> dict[str, Any]:
    """A JSON schema that accepts every valid file of a setting."""
    return {"$schema": _DRAFT, "title": "udonx setting", **_setting(_row())}


def _setting(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "inherit": {"type": "string"},
            "data": _object("data", table_options(DataOptions)),
            "backbones": {"type": "object", "additionalProperties": _slot("backbones", StartOptions)},
            **{kind: _defaults(kind) for kind in KIND_TABLES},
            **{key: value for key, value in row["properties"].items() if key in SETTING_KEYS},
            "losses": _defaults("losses"),
        },
        "additionalProperties": False,
    }


def _row() -> dict[str, Any]:
    properties = dict(_object("row", table_options(PlainKeys))["properties"])
    properties |= {key: _object(key, table_options(cls)) for key, cls in TABLES.items()}
    properties |= {key: _slot(kind, slot) for key, (kind, slot) in SLOT_KEYS.items()}
    properties["losses"] = {"type": "object", "additionalProperties": {"oneOf": [*_slot("losses", LossSlot)["oneOf"], {"const": False}]}}
    properties["reported"] = {"type": "object"}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _object(name: str, options: tuple[Option, ...]) -> dict[str, Any]:
    schema = model_of(name, options).model_json_schema()
    # merging over several layers: nothing is required in any one of them
    return {"type": "object", "properties": schema.get("properties", {}), "additionalProperties": False}


def _slot(kind: str, slot: type) -> dict[str, Any]:
    """A component by name, or a table: one alternative per component, and one without `use` that changes what is inherited."""
    own = _object("slot", table_options(slot))["properties"]
    alternatives: list[dict[str, Any]] = [{"type": "string", "enum": components.registry_of(kind).names()}] if kind != "backbones" else []
    inherited: dict[str, list[Any]] = {}
    for name in components.registry_of(kind).names():
        component = components.describe(kind, name)
        options = _object(name, component.options)["properties"]
        for option, described in options.items():
            inherited.setdefault(option, []).append(described)
        properties = {**own, **options, "use": {"const": name, "description": component.doc}}
        alternatives.append({"type": "object", "properties": properties, "required": ["use"], "additionalProperties": False})
    without = {name: item for name, item in own.items() if name != "use"}
    without |= {option: described[0] if len(described) == 1 else {"anyOf": described} for option, described in inherited.items()}
    return {"oneOf": [*alternatives, {"type": "object", "properties": without, "additionalProperties": False}]}


def _defaults(kind: str) -> dict[str, Any]:
    names = components.registry_of(kind).names()
    properties = {name: _object(name, components.describe(kind, name).options) for name in names}
    return {"type": "object", "properties": properties, "additionalProperties": False}

"""The JSON schemas of an experiment file and of a setting, for editors.

They are derived from the same declarations that validate them.

Some keys depend on a value: the options of the component that `use` names, the keys that a scheme
has slots for. They are said with if/then and never with oneOf. So an editor marks the key that is
wrong and not the whole table around it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from registry import schemes
from registry.options import Option
from udonx.config import descriptions as components
from udonx.config.keys import (
    COMMON,
    DOCS,
    KIND_TABLES,
    PLAIN_KEYS,
    ROW_KEYS,
    SETTING_DOCS,
    SETTING_KEYS,
    SLOT_KEYS,
    TABLES,
    VIEW,
    DataOptions,
    DimensionOptions,
    FileOptions,
    LossSlot,
    ReportedOptions,
    ResultOptions,
    SettingOptions,
    StartOptions,
    TeacherOptions,
    TuneOptions,
)
from udonx.config.reported import metric_options
from udonx.config.typed import model_of, table_options

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_UNKNOWN: dict[str, Any] = {"not": {}}
"""Where additional properties are concerned the same as false, but the error is at the key and not
at the table around it.
"""

_VALUES = {"$ref": "#/$defs/grid_values"}
"""What stands in a grid: a list, or a table of what stands in it."""

_DIMENSION = {"$ref": "#/$defs/dimension"}
"""What stands in [tune.space]: the values of a key, or a table of what stands in it."""


def experiment_schema() -> dict[str, Any]:
    """A JSON schema (draft 2020-12) that accepts every valid experiment file.

    It has keys, types, bounds, and components with their options.

    Plug-ins that are imported are in it. A row's keys are judged by the scheme that the row itself
    names.
    """
    return {
        "$schema": _DRAFT,
        "title": "udonx experiment",
        **_closed(
            {
                **_file_keys(),
                "setting": {
                    "description": DOCS["setting"],
                    **_table_or({"type": "string"}, {"$ref": "#/$defs/setting"}),
                },
                "defaults": {"description": DOCS["defaults"], "$ref": "#/$defs/keys_of_row"},
                "rows": {
                    "description": DOCS["rows"],
                    "type": "object",
                    "additionalProperties": _table_or({"const": False}, {"$ref": "#/$defs/row"}),
                },
                "results": {
                    "description": DOCS["results"],
                    **_closed(_properties(table_options(ResultOptions))),
                },
                "tune": {"description": DOCS["tune"], "type": "object", **_tune()},
            }
        ),
        "anyOf": [
            {"required": ["rows"], "properties": {"rows": {"minProperties": 1}}},
            {"required": ["inherit"]},
        ],
        "$defs": {
            "setting": _setting(),
            "row": {
                **_closed({**_keys_of_row(), "grid": {"$ref": "#/$defs/grid"}}),
                "allOf": list(_slots_by_scheme()),
            },
            "keys_of_row": _closed(_keys_of_row()),
            "grid": {
                "description": DOCS["grid"],
                **_table_or(
                    {"const": False},
                    {
                        "properties": {key: _VALUES for key in sorted(ROW_KEYS - VIEW)},
                        "additionalProperties": _VALUES,
                        "minProperties": 1,
                    },
                ),
            },
            "dimension": {
                "if": {"anyOf": [{"required": [key]} for key in ("low", "high", "of")]},
                "then": _closed(_properties(table_options(DimensionOptions))),
                "else": {"type": "object", "additionalProperties": _DIMENSION},
            },
            "grid_values": _table_or(
                {"type": "array", "minItems": 1},
                {"minProperties": 1, "additionalProperties": _VALUES},
            ),
            **_row_keys(),
        },
    }


def _tune() -> dict[str, Any]:
    """The table [tune]: its own keys, and the options of the search that `use` names."""
    space = {
        "description": DOCS["space"],
        "type": "object",
        "minProperties": 1,
        "additionalProperties": _DIMENSION,
    }
    own = {**_properties(table_options(TuneOptions)), "space": space}
    return {**_by_use(own, _options_of_kind("searches")), "required": ["space"]}


def _keys_of_row() -> dict[str, Any]:
    """A reference to each key of a row."""
    return {key: {"$ref": f"#/$defs/{key}"} for key in sorted(ROW_KEYS)}


def _file_keys() -> dict[str, Any]:
    """The plain keys of an experiment file."""
    keys = _properties(table_options(FileOptions))
    keys["metrics"]["items"] = {"enum": components.registry_of("metrics").names()}
    return keys


def setting_schema() -> dict[str, Any]:
    """A JSON schema that accepts every valid file of a setting."""
    return {"$schema": _DRAFT, "title": "udonx setting", **_setting(), "$defs": _row_keys()}


def _setting() -> dict[str, Any]:
    backbones, sources = _options_of_kind("backbones"), _options_of_kind("sources")
    return _closed(
        {
            **_properties(table_options(SettingOptions)),
            "data": {
                "description": SETTING_DOCS["data"],
                "type": "object",
                **_by_use(_properties(table_options(DataOptions)), sources, "source"),
            },
            "backbones": {
                "description": SETTING_DOCS["backbones"],
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    **_by_use(_properties(table_options(StartOptions)), backbones),
                },
            },
            **{key: {"$ref": f"#/$defs/{key}"} for key in sorted(SETTING_KEYS & ROW_KEYS)},
            **{
                kind: {"description": SETTING_DOCS[kind], **_defaults(kind)} for kind in KIND_TABLES
            },
        }
    )


def _options_of_kind(kind: str) -> dict[str, tuple[Option, ...]]:
    """The options of each component of a kind, by its name."""
    names = components.registry_of(kind).names()
    return {name: components.describe(kind, name).options for name in names}


def _row_keys() -> dict[str, Any]:
    """Each key of a row."""
    keys: dict[str, Any] = _properties(PLAIN_KEYS)
    keys |= {
        key: {"description": DOCS[key], **_closed(_properties(table_options(cls)))}
        for key, cls in TABLES.items()
    }
    keys |= {
        key: {"description": DOCS[key], **_slot(kind, slot)}
        for key, (kind, slot) in SLOT_KEYS.items()
    }
    keys["losses"] = {
        "description": DOCS["losses"],
        "type": "object",
        "additionalProperties": _slot("losses", LossSlot, removable=True),
    }
    teacher = _closed(_properties(table_options(TeacherOptions)))
    keys["teachers"] = {
        "description": DOCS["teachers"],
        "type": "object",
        "additionalProperties": {"anyOf": [teacher, {"const": False}]},
    }
    reported = _properties((*table_options(ReportedOptions), *metric_options()))
    keys["reported"] = {"description": DOCS["reported"], **_closed(reported)}
    return {key: keys[key] for key in sorted(ROW_KEYS)}


def _slots_by_scheme() -> Iterable[dict[str, Any]]:
    """For each scheme what its rows may not have.

    A scheme whose slots depend on its options, so that its class has none, is left out.
    """
    for name in components.registry_of("schemes").names():
        slots = getattr(schemes.get(name), "slots", None)
        if isinstance(slots, set | frozenset):
            named = {
                "if": {"const": name},
                "else": {
                    "type": "object",
                    "required": ["use"],
                    "properties": {"use": {"const": name}},
                },
            }
            without = {key: _UNKNOWN for key in sorted(ROW_KEYS - COMMON - slots)}
            yield {
                "if": {"required": ["scheme"], "properties": {"scheme": named}},
                "then": {"properties": without},
            }


def _slot(kind: str, slot: type, *, removable: bool = False) -> dict[str, Any]:
    """A component by its name, or a table of the slot's own keys and the component's options.

    It may be `false` where it may be removed.
    """
    own = _properties(table_options(slot))
    options = _options_of_kind(kind)
    scalar: dict[str, Any] = {"enum": [*options, False] if removable else list(options)}
    return _table_or(scalar, _by_use(own, options))


def _by_use(
    own: dict[str, Any], options: dict[str, tuple[Option, ...]], key: str = "use"
) -> dict[str, Any]:
    """A table of its own keys and of the options of the component that `key` names.

    Without that key it has the options of any component.
    """
    of_any: dict[str, list[dict[str, Any]]] = {}
    cases = []
    for name, described in options.items():
        properties = _properties(described)
        for option, item in properties.items():
            of_any.setdefault(option, []).append(item)
        allowed = {**dict.fromkeys(own, True), **properties}
        cases.append(
            {
                "if": {"required": [key], "properties": {key: {"const": name}}},
                "then": _closed(allowed),
            }
        )
    merged = {option: _any_of(items) for option, items in of_any.items()}
    cases.append(
        {
            "if": {"not": {"required": [key]}},
            "then": _closed({**dict.fromkeys(own, True), **merged}),
        }
    )
    return {"properties": {**own, key: {**own[key], "enum": list(options)}}, "allOf": cases}


def _any_of(items: list[dict[str, Any]]) -> dict[str, Any]:
    """An option that several components have, each with a schema and a sentence of its own."""
    if all(item == items[0] for item in items):
        return items[0]
    sentences = dict.fromkeys(item["description"] for item in items if "description" in item)
    return {"description": " Or: ".join(sentences), "anyOf": items}


def _defaults(kind: str) -> dict[str, Any]:
    """New defaults of components, [KIND.NAME]."""
    described = [components.describe(kind, name) for name in components.registry_of(kind).names()]
    return _closed(
        {
            item.name: {"description": item.doc, **_closed(_properties(item.options))}
            for item in described
        }
    )


def _table_or(scalar: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """Either a table or a value of another type, told apart by the type alone."""
    return {"if": {"type": "object"}, "then": table, "else": scalar}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    # merging over several layers: nothing is required in any one of them
    return {"type": "object", "properties": properties, "additionalProperties": _UNKNOWN}


def _properties(options: tuple[Option, ...]) -> dict[str, Any]:
    """Each option's schema: type, bounds, default and description.

    The description is its sentence with its unit.
    """
    derived = model_of(options).model_json_schema().get("properties", {})
    return {option.name: _property(derived[option.name], option) for option in options}


def _property(derived: dict[str, Any], option: Option) -> dict[str, Any]:
    # pydantic's titles repeat the key, and what may be left out is "or null" to pydantic, which
    # TOML does not have
    schema = {key: value for key, value in derived.items() if key != "title" and value is not None}
    if "anyOf" in schema:
        kinds = [item for item in schema.pop("anyOf") if item != {"type": "null"}]
        schema |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    words = f"{option.doc[:-1]} ({option.unit})." if option.unit and option.doc else option.doc
    return {"description": words, **schema} if words else schema

"""A resolved experiment as TOML that plans the same stages, or as what its rows change."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import tomli_w

from registry.metrics import DEFAULTS
from registry.options import Option
from udonx.config.descriptions import describe
from udonx.config.experiment import Experiment
from udonx.config.keys import PLAIN_KEYS, SLOT_KEYS, TABLES, LossSlot
from udonx.config.typed import table_options


def to_toml(experiment: Experiment) -> str:
    """The experiment with its setting and every row in full.

    Paths that it names are as seen from the working directory.
    """
    backbones = {}
    for role, backbone in experiment.backbones.items():
        start = {name: getattr(backbone, name) for name in ("use", "local", "hub", "prefer")} | {
            "random": backbone.random or None
        }
        backbones[role] = {
            key: value for key, value in start.items() if value is not None
        } | backbone.options
    document: dict[str, Any] = {"title": experiment.title, "seeds": list(experiment.seeds)}
    if experiment.metrics != DEFAULTS:
        document["metrics"] = list(experiment.metrics)
    if experiment.plugins:
        document["plugins"] = [
            _absolute(name, experiment.path.parent) for name in experiment.plugins
        ]
    document["setting"] = {"data": experiment.data.to_plain(), "backbones": backbones}
    kept = {"observers": list(experiment.observers), "writers": list(experiment.writers)}
    if results := {key: names for key, names in kept.items() if names}:
        document["results"] = results
    names = [row.name for row in experiment.needed_rows()]
    if experiment.tuning and (table := experiment.tuning.to_plain(names)):
        document["tune"] = table
    document["rows"] = {row.name: row.data for row in experiment.needed_rows()}
    return (
        f"# {experiment.path} on setting '{experiment.setting}', resolved by udonx"
        f" show\n{tomli_w.dumps(document)}"
    )


def to_diff(experiment: Experiment) -> str:
    """What the rows change, for reading.

    The first is compared with the defaults of all keys, every other one with the first.

    What the first row has no such key for is again compared with the defaults. What another row
    lacks of the first is named in a comment.
    """
    first, *others = experiment.wanted_rows()
    lines = [
        f"# {experiment.path} on setting '{experiment.setting}'",
        (
            f"# {first.name}: what differs from the defaults (udonx keys); the other rows: what"
            f" differs from {first.name}"
        ),
        *_difference(first.name, first.data, {}),
    ]
    for row in others:
        lines += _difference(row.name, row.data, first.data)
    return "\n".join(lines) + "\n"


def _difference(name: str, row: dict[str, Any], first: dict[str, Any]) -> list[str]:
    own = _flat(row)
    base = _flat(_defaults(row)) | _flat(first)
    lines = ["", f"[rows.{toml_key(name)}]"]
    lines += [
        f"{key} = {toml_value(value)}"
        for key, value in own.items()
        if key not in base or base[key] != value
    ]
    lacks = [key for key in first if key not in row]
    lacks += [
        f"losses.{loss}"
        for loss in first.get("losses", {})
        if "losses" in row and loss not in row["losses"]
    ]
    return [*lines, f"# not in this row: {', '.join(lacks)}"] if lacks else lines


def _defaults(row: dict[str, Any]) -> dict[str, Any]:
    """The row as it would be if it had named its components and nothing else."""
    known = dict(_of_options(PLAIN_KEYS))
    known |= {key: _of_options(table_options(cls)) for key, cls in TABLES.items() if key in row}
    known |= {
        key: _of_component(kind, slot, row[key])
        for key, (kind, slot) in SLOT_KEYS.items()
        if key in row
    }
    known["losses"] = {
        name: _of_component("losses", LossSlot, loss)
        for name, loss in row.get("losses", {}).items()
        if loss
    }
    return known


def _of_component(kind: str, slot: type, value: dict[str, Any]) -> dict[str, Any]:
    return {**_of_options(table_options(slot)), **describe(kind, value["use"]).defaults()}


def _of_options(options: tuple[Option, ...]) -> dict[str, Any]:
    return {option.name: option.default for option in options if not option.required}


def _flat(table: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Values by their dotted keys, as TOML writes them."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{above}{toml_key(name)}"
        flat |= _flat(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return flat


def toml_key(name: str) -> str:
    """A name as a key of TOML, in quotes where it needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def toml_value(value: Any) -> str:
    """A value as TOML has it behind a key."""
    return tomli_w.dumps({"key": value}).partition(" = ")[2].strip() if value != {} else "{}"


def _absolute(name: str, beside: Path) -> str:
    path = beside / name
    return os.path.abspath(path) if name.endswith(".py") and path.is_file() else name

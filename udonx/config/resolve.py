"""All rows of a file: each resolved, and what is wrong with the keys that they share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from udonx.common.words import display_path, dotted_key, format_value, unknown
from udonx.config.backbones import BackboneConfig
from udonx.config.document import Document
from udonx.config.keys import COMMON, KIND_TABLES, ROW_KEYS, SETTING_KEYS
from udonx.config.layers import Layers, slot_key
from udonx.config.merge import Layer
from udonx.config.overrides import Overrides
from udonx.config.problems import Problem
from udonx.config.rows import RowConfig, resolve_row
from udonx.config.settings import known_roles
from udonx.config.slots import check_kind_tables
from udonx.config.starts import with_sources


def row_layers(
    document: Document, setting: list[Layer], overrides: Overrides, problems: list[Problem]
) -> Layers:
    """The layers of all rows of a file.

    Args:
        document: its content.
        setting: the layers of its setting, `--set` included.
        overrides: `--set` of rows.
        problems: what is wrong with new defaults of components is added to them.
    """
    return Layers(
        setting=[_keys_of_rows(layer) for layer in setting],
        defaults=document.defaults,
        overrides=overrides.all_rows,
        rows=document.rows,
        row_overrides=overrides.rows,
        defaults_of_kind=check_kind_tables(setting, problems),
    )


def resolve_rows(
    path: Path,
    document: Document,
    layers: Layers,
    backbones: dict[str, BackboneConfig],
    problems: list[Problem],
) -> list[RowConfig]:
    """All rows of a file that can be resolved.

    Args:
        path: the file.
        document: its content.
        layers: those of its rows.
        backbones: those of the setting, by role.
        problems: everything that is wrong is added to them.
    """
    used: set[str] = set()
    resolved: list[RowConfig] = []
    for name in document.rows:
        row, its_used = resolve_row(name, layers, problems)
        used |= its_used
        if row is not None:
            resolved.append(attrs.evolve(row, skipped=_skipped(row, document, backbones)))
    resolved = with_sources(resolved, document, layers, problems)
    problems += _unknown_roles(path, document, resolved, backbones)
    complete = len(resolved) == len(document.rows)
    for layer in (*layers.defaults, *layers.overrides):
        for key, value, but in _of_no_row(layer, used if complete else None, resolved):
            problems.append(
                Problem(
                    where=layer.where,
                    key=dotted_key(layer.prefix, key),
                    message=f"got {format_value(value)}, {but}",
                )
            )
    return resolved


def _keys_of_rows(layer: Layer) -> Layer:
    """What a layer of a setting says of rows."""
    own = ROW_KEYS - set(KIND_TABLES)
    return attrs.evolve(layer, data={key: value for key, value in layer.data.items() if key in own})


def _unknown_roles(
    path: Path,
    document: Document,
    rows: list[RowConfig],
    backbones: dict[str, BackboneConfig],
) -> Iterator[Problem]:
    """Backbones that no setting has. One that only this setting lacks leaves its rows out."""
    wanted = {
        f"rows.{row.name}.{key}": role
        for row in rows
        for key, role in row.roles.items()
        if role not in backbones
    }
    if not wanted:  # reading the files of all settings takes a while
        return
    known = known_roles(path) | set(backbones)
    for key, role in wanted.items():
        if role not in known:
            key = "roles" if role in document.plain["roles"] else key
            message = (
                f"got {format_value(role)}, which is an {unknown(role, known, 'backbone role')}"
            )
            yield Problem(where=display_path(path), key=key, message=message)


def _skipped(
    row: RowConfig, document: Document, backbones: dict[str, BackboneConfig]
) -> str | None:
    """Why this setting cannot have a row; None where it can."""
    if missing := [role for role in row.roles.values() if role not in backbones]:
        return f"not in this setting, which has no backbone '{missing[0]}'"
    for role in document.plain["roles"] if row.name in document.roles else ():
        if role == row.backbone:
            break
        own = backbones[row.backbone]
        if role in backbones and attrs.evolve(backbones[role], role=row.backbone) == own:
            return (
                f"already there, since the backbone '{row.backbone}' of this setting is its"
                f" '{role}' too"
            )
    return None


def _of_no_row(
    layer: Layer, used: set[str] | None, rows: list[RowConfig]
) -> Iterator[tuple[str, Any, str]]:
    """(key, value, but) of what a layer of all rows says, and no row can have.

    Args:
        layer: the layer.
        used: the keys that some row has a slot for; None where not all rows could be resolved, so
            that nothing is known of the others.
        rows: the rows.
    """
    for key, value in layer.data.items():
        if key not in ROW_KEYS and key in SETTING_KEYS and layer.prefix == "":
            yield key, value, f"but this is a key of the setting: write setting.{key}..."
        elif key not in ROW_KEYS:
            yield key, value, f"but this is an {unknown(key, ROW_KEYS)}"
        elif used is None or key in COMMON:
            continue
        elif slot_key(layer, key) not in used:
            yield key, value, "but no row here has a slot for it"
        elif key == "losses" and isinstance(value, dict):
            there = {
                loss.name for row in rows if row.spec.recipe for loss in row.spec.recipe.losses
            }
            for name, entry in value.items():
                if slot_key(layer, f"losses.{name}") not in used:
                    what = unknown(name, there, "loss of these rows")
                    yield f"losses.{name}", entry, f"but this is an {what}"

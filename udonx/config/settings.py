"""Settings with their parents, as layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from udonx.common.words import display_path, dotted_key, format_value, unknown
from udonx.config.keys import KIND_TABLES, SETTING_KEYS
from udonx.config.merge import Layer, Merged
from udonx.config.problems import ConfigError, Problem
from udonx.config.toml_files import SHIPPED, is_there, read_toml

OWN_SETTING = "own"
"""The name of a setting that the file itself holds."""


@attrs.define(kw_only=True)
class RawSetting:
    """A setting as read.

    Attributes:
        name: the setting's.
        layers: what it says, parents first.
    """

    name: str
    layers: list[Layer] = attrs.field(factory=list)


def read_settings(given: list[tuple[Path, Any]]) -> RawSetting:
    """The setting of a file that inherits from others.

    Args:
        given: (file, its setting) of each that has one, parents first. The last counts; a table
            without `inherit` lies over the table that a parent has.

    Raises:
        ConfigError: as `read_setting` does.
    """
    file, value = given[-1]
    raw = read_setting(value, file)
    if (
        isinstance(value, dict)
        and "inherit" not in value
        and len(given) > 1
        and isinstance(given[-2][1], dict)
    ):
        raw.layers = [*read_settings(given[:-1]).layers, *raw.layers]
    return raw


def read_setting(setting: str | dict[str, Any], beside: Path) -> RawSetting:
    """A setting with its parents.

    Args:
        setting: its name, looked up in `settings/` beside the file, then among those shipped; or
            the table that the file itself holds.
        beside: the file.

    Raises:
        ConfigError: an unknown name, at any height of the inheritance, or a circle.
    """
    if isinstance(setting, dict):
        parents, data = (
            setting.get("inherit"),
            {key: value for key, value in setting.items() if key != "inherit"},
        )
        above = read_setting(parents, beside).layers if parents is not None else []
        return RawSetting(
            name=OWN_SETTING,
            layers=[*above, Layer(where=display_path(beside), prefix="setting", data=data)],
        )
    layers: list[Layer] = []
    seen: list[str] = []
    name = setting
    while True:
        if name in seen:
            circle = " -> ".join([*seen, name])
            raise ConfigError(
                [
                    Problem(
                        where=display_path(beside),
                        key="inherit",
                        message=f"the settings {circle} inherit in a circle",
                    )
                ]
            )
        seen.append(name)
        path = _find(name, beside)
        data = read_toml(path)
        parent = data.pop("inherit", None)
        layers.insert(0, Layer(where=display_path(path), prefix="", data=data))
        if parent is None:
            return RawSetting(name=setting, layers=layers)
        name = parent


def known_roles(beside: Path) -> set[str]:
    """The backbone roles of all settings that a file could name."""
    roles: set[str] = set()
    for folder in _folders(beside):
        for path in folder.glob("*.toml"):
            # another setting that cannot be read is no matter of this file
            with contextlib.suppress(ConfigError):
                backbones = read_toml(path).get("backbones", {})
                roles |= set(backbones) if isinstance(backbones, dict) else set()
    return roles


def _folders(beside: Path) -> list[Path]:
    return [beside.parent / "settings", SHIPPED / "settings"]


def _find(name: str, beside: Path) -> Path:
    folders = _folders(beside)
    if not isinstance(name, str):
        message = f"got {format_value(name)}, allowed is the name of a setting or a table"
        raise ConfigError([Problem(where=display_path(beside), key="setting", message=message)])
    for folder in folders:
        if is_there(folder / f"{name}.toml"):
            return folder / f"{name}.toml"
    there = {path.stem for folder in folders for path in folder.glob("*.toml")}
    message = f"got {format_value(name)}, which is an {unknown(name, there, 'setting')}"
    raise ConfigError([Problem(where=display_path(beside), key="setting", message=message)])


def check_setting(layer: Layer, problems: list[Problem]) -> None:
    """Note what is wrong with the keys of a layer of a setting: unknown ones, and what is no table.

    Args:
        layer: one file of the setting, or a `--set` of it.
        problems: what is wrong is added to them.
    """
    for key in [key for key in layer.data if key not in SETTING_KEYS]:
        what = unknown(key, SETTING_KEYS, "key of a setting")
        message = f"got {format_value(layer.data[key])}, but this is an {what}"
        problems.append(
            Problem(where=layer.where, key=dotted_key(layer.prefix, key), message=message)
        )
    for key in ("data", "backbones", *KIND_TABLES):
        if not isinstance(layer.data.get(key, {}), dict):
            message = f"got {format_value(layer.data[key])}, allowed is a table"
            problems.append(
                Problem(where=layer.where, key=dotted_key(layer.prefix, key), message=message)
            )


def merged_table(layers: Iterable[Layer], key: str) -> Merged:
    """One table of a setting, its layers merged: `data` or `backbones`."""
    merged = Merged()
    for layer in layers:
        if isinstance(layer.data.get(key), dict):
            merged.add(attrs.evolve(layer, data={key: layer.data[key]}))
    return merged

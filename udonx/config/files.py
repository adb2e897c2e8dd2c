"""Reading TOML: experiment files, settings with their parents, and `--set`."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import attrs

from registry.catalog import nearest
from udonx.config.merge import Layer
from udonx.config.problems import ConfigError, Problem, spell, unknown

OWN_SETTING = "own"
"""The name of a setting that the file itself holds."""

SHIPPED = Path(__file__).resolve().parents[2] / "experiments"


def shown(path: Path) -> str:
    """A path as a person wrote or would write it: relative to the working directory where it lies below it."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def hint_of(name: str, there: list[str]) -> str:
    """The end of a sentence about a name that is not there: the nearest ones that are."""
    close = nearest(name, there)
    return f"; did you mean {' or '.join(repr(item) for item in close)}?" if close else ""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises ConfigError for a missing file, with the nearest names, and for a syntax error, with its line."""
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = [item.name for item in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise ConfigError([Problem(where=str(path), message=f"there is no such file{hint_of(path.name, there)}")]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(where=shown(path), message=f"is not valid TOML: {error}")]) from None
    except OSError as error:
        raise ConfigError([Problem(where=str(path), message=f"cannot be read: {os.strerror(error.errno)}")]) from None


@attrs.define(kw_only=True)
class RawSetting:
    """A setting as read: its name and its layers, parents first."""

    name: str
    layers: list[Layer] = attrs.field(factory=list)


def read_settings(given: list[tuple[Path, Any]]) -> RawSetting:
    """The setting of a file and its parents, (file, setting) with parents first: the last counts; a table without `inherit` lies over
    the table that a parent has. Raises ConfigError as `read_setting` does."""
    file, value = given[-1]
    raw = read_setting(value, file)
    if isinstance(value, dict) and "inherit" not in value and len(given) > 1 and isinstance(given[-2][1], dict):
        raw.layers = [*read_settings(given[:-1]).layers, *raw.layers]
    return raw


def read_setting(setting: str | dict[str, Any], beside: Path) -> RawSetting:
    """A setting by name (looked up in `settings/` beside the file, then among those shipped) or held by the file itself.

    Raises ConfigError for an unknown name, at any height of the inheritance.
    """
    if isinstance(setting, dict):
        parents, data = setting.get("inherit"), {key: value for key, value in setting.items() if key != "inherit"}
        above = read_setting(parents, beside).layers if parents is not None else []
        return RawSetting(name=OWN_SETTING, layers=[*above, Layer(where=shown(beside), prefix="setting", data=data)])
    layers: list[Layer] = []
    seen: list[str] = []
    name = setting
    while True:
        if name in seen:
            circle = " -> ".join([*seen, name])
            raise ConfigError([Problem(where=shown(beside), key="inherit", message=f"the settings {circle} inherit in a circle")])
        seen.append(name)
        path = _find(name, beside)
        data = read_toml(path)
        parent = data.pop("inherit", None)
        layers.insert(0, Layer(where=shown(path), prefix="", data=data))
        if parent is None:
            return RawSetting(name=setting, layers=layers)
        name = parent


def known_roles(beside: Path) -> set[str]:
    """The backbone roles of all settings that a file could name."""
    roles: set[str] = set()
    for folder in _folders(beside):
        for path in folder.glob("*.toml"):
            with contextlib.suppress(ConfigError):  # another setting that cannot be read is no matter of this file
                backbones = read_toml(path).get("backbones", {})
                roles |= set(backbones) if isinstance(backbones, dict) else set()
    return roles


def _folders(beside: Path) -> list[Path]:
    return [beside.parent / "settings", SHIPPED / "settings"]


def _find(name: str, beside: Path) -> Path:
    folders = _folders(beside)
    if not isinstance(name, str):
        message = f"got {spell(name)}, allowed is the name of a setting or a table"
        raise ConfigError([Problem(where=shown(beside), key="setting", message=message)])
    for folder in folders:
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    there = {path.stem for folder in folders for path in folder.glob("*.toml")}
    raise ConfigError([Problem(where=shown(beside), key="setting", message=f'got "{name}", which is an {unknown(name, there, "setting")}')])


def parse_override(text: str) -> tuple[list[str], Any]:
    """`key.path=value` as path and value. The value is TOML; a bare word stands for itself.

    >>> parse_override("optimiser.lr_heads=3e-3"), parse_override("rows.udon.sampler=dynamic")
    ((['optimiser', 'lr_heads'], 0.003), (['rows', 'udon', 'sampler'], 'dynamic'))
    """
    key, equals, value = text.partition("=")
    where = f"--set {text}"
    if not equals or not key.strip():
        raise ConfigError([Problem(where=where, message="must be key.path=value, with a path that `udonx show` prints")])
    if re.fullmatch(r"[A-Za-z_][\w./:-]*", value) and value not in ("true", "false", "inf", "nan"):
        return key.strip().split("."), value
    try:
        return key.strip().split("."), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        raise ConfigError([Problem(where=where, key=key, message=f"{value} is not a TOML value; text with spaces needs quotes")]) from None


def nested(path: list[str], value: Any) -> dict[str, Any]:
    """A value as nested tables along `path`.

    >>> nested(["a", "b"], 1)
    {'a': {'b': 1}}
    """
    for key in reversed(path):
        value = {key: value}
    return value

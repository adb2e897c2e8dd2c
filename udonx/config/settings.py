"""Reading TOML: experiment files, and settings with their parents."""

from __future__ import annotations

import contextlib
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from udonx.common.files import DamagedFileError, read_bytes
from udonx.common.words import did_you_mean, display_path, dotted_key, format_value, unknown
from udonx.config.keys import KIND_TABLES, SETTING_KEYS
from udonx.config.merge import Layer, Merged
from udonx.config.problems import ConfigError, Problem

OWN_SETTING = "own"
"""The name of a setting that the file itself holds."""


def _shipped_folder() -> Path:
    """The folder of the experiment files that ship with udonx: data of the package where it is
    installed, the folder beside the package in a checkout.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


SHIPPED = _shipped_folder()

DEEPEST = 32  # tables in tables: far beyond any use, far below what recursion stands
_LARGEST = 2**63  # of TOML's own whole numbers


def is_there(path: Path) -> bool:
    """Whether there is a file or folder of that name; False for a name that none can have: one with
    a NUL, or too long.
    """
    try:
        return path.exists()
    except OSError:
        return False


def shipped(path: str | Path) -> Path:
    """The experiment file or folder that a person means: the path itself, or, where nothing is
    there, what ships with udonx under that name: `table3_ablation`, `table3_ablation.toml` or
    `experiments/table3_ablation.toml`.

    >>> shipped(Path("table3_ablation")) == SHIPPED / "table3_ablation.toml"
    True
    """
    path = Path(path)
    parts = path.parts[1:] if path.parts[:1] == (SHIPPED.name,) else path.parts
    if is_there(path) or path.is_absolute() or ".." in parts:
        return path
    inside = SHIPPED.joinpath(*parts)
    return next(
        (file for file in (inside, inside.with_name(f"{inside.name}.toml")) if is_there(file)), path
    )


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises ConfigError, in one sentence, for a file that is missing (with the nearest names) or
    cannot be read, for a syntax error (with its line), and for what TOML can say but no key here
    means: tables 33 deep, whole numbers beyond 64 bits.
    """
    path = Path(path)
    try:
        return parse_toml(read_bytes(path).decode("utf-8-sig"))
    except FileNotFoundError:
        there = [item.name for folder in (path.parent, SHIPPED) for item in folder.glob("*.toml")]
        message = f"there is no such file{did_you_mean(path.name, there)}"
    except DamagedFileError as error:
        message = error.why
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except ValueError as error:  # a path with a NUL in it is one too
        message = f"is not valid TOML: {error}"
    raise ConfigError([Problem(where=display_path(path), message=message)])


def _name_and_table(text: str, error: str) -> str:
    """What to do where a key is a name and, further down, a table: the natural first try at
    changing a part of what is named.
    """
    place = re.match(r"Cannot overwrite a value \(at line (\d+)", error)
    if place is None:
        return ""
    *above, line = text.split("\n")[: int(place.group(1))]
    for key in re.findall(r"[\w-]+", line.partition("=")[0]):
        for earlier in above:
            if named := re.match(rf'\s*(?:[\w.-]+\.)?{key}\s*=\s*("[^"]*")', earlier):
                table, word = ("[setting]", "inherit") if key == "setting" else ("a table", "use")
                return (
                    f"; '{key}' is a name and a table at once: write {table} with {word} ="
                    f" {named.group(1)}, and beside it what differs"
                )
    return ""


def parse_toml(text: str) -> dict[str, Any]:
    """TOML as plain data. Raises ValueError that says what is wrong, never RecursionError.

    >>> parse_toml("a = 9223372036854775808")
    Traceback (most recent call last):
    ...
    ValueError: a whole number has more than 64 bits
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{error}{_name_and_table(text, str(error))}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:  # Python reads no number of more digits than this
        raise ValueError(
            f"a whole number has more than {sys.get_int_max_str_digits()} digits"
        ) from None
    level = [content]
    for _ in range(DEEPEST):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if any(isinstance(item, int) and not -_LARGEST <= item < _LARGEST for item in level):
            raise ValueError("a whole number has more than 64 bits")
        level = [item for item in level if isinstance(item, dict | list)]
    if level:
        raise ValueError(f"its tables and lists are more than {DEEPEST} deep")
    return content


@attrs.define(kw_only=True)
class RawSetting:
    """A setting as read: its name and its layers, parents first."""

    name: str
    layers: list[Layer] = attrs.field(factory=list)


def read_settings(given: list[tuple[Path, Any]]) -> RawSetting:
    """The setting of a file and its parents, (file, setting) with parents first: the last counts; a
    table without `inherit` lies over the table that a parent has. Raises ConfigError as
    `read_setting` does.
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
    """A setting by name (looked up in `settings/` beside the file, then among those shipped) or
    held by the file itself.

    Raises ConfigError for an unknown name, at any height of the inheritance.
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

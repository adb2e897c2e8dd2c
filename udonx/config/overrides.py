"""`--set key.path=value`: what it says, and which rows or setting it is for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from udonx.common.words import did_you_mean
from udonx.config.merge import Layer
from udonx.config.problems import ConfigError, Problem
from udonx.config.settings import check_setting
from udonx.config.toml_files import DEEPEST, parse_toml


@attrs.define(kw_only=True)
class Overrides:
    """`--set` as layers.

    Attributes:
        setting: of the setting.
        all_rows: of every row that has a slot for the key.
        rows: of one row, by its name.
    """

    setting: list[Layer] = attrs.field(factory=list)
    all_rows: list[Layer] = attrs.field(factory=list)
    rows: dict[str, list[Layer]] = attrs.field(factory=dict)


def read_overrides(
    texts: Iterable[str], named: Mapping[str, Sequence[str]], problems: list[Problem]
) -> Overrides:
    """Sort `--set` by what it is for.

    Args:
        texts: `key.path=value` each.
        named: the rows that each name of the file stands for: one, or those of a grid.
        problems: a row or a key of the setting that is not there is added to them.

    Raises:
        ConfigError: a text that is no path and value.
    """
    found = Overrides()
    for text in texts:
        where = f"--set {text}"
        path, value = parse_override(text)
        if path[0] == "setting" and len(path) > 1:
            layer = Layer(where=where, prefix="", data=nested(path[1:], value))
            check_setting(layer, problems)
            found.setting.append(layer)
        elif path[0] != "rows" or len(path) < 3:
            found.all_rows.append(Layer(where=where, prefix="", data=nested(path, value)))
        elif path[1] in named:
            layer = Layer(where=where, prefix="", data=nested(path[2:], value))
            for row in named[path[1]]:
                found.rows.setdefault(row, []).append(layer)
        else:
            hint = did_you_mean(path[1], named) or ";"
            message = f"there is no row '{path[1]}'{hint} the rows are {', '.join(named)}"
            problems.append(Problem(where=where, message=message))
    return found


def parse_override(text: str) -> tuple[list[str], Any]:
    """`key.path=value` as path and value. The value is TOML; a bare word stands for itself.

    Raises:
        ConfigError: it is no path and value.

    Example:
        >>> parse_override("optimiser.lr_heads=3e-3"), parse_override("rows.udon.sampler=dynamic")
        ((['optimiser', 'lr_heads'], 0.003), (['rows', 'udon', 'sampler'], 'dynamic'))
    """
    key, equals, value = text.partition("=")
    where = f"--set {text}"
    if not equals or not key.strip():
        raise ConfigError(
            [
                Problem(
                    where=where,
                    message="must be key.path=value, with a path that `udonx show` prints",
                )
            ]
        )
    path = key.strip().split(".")
    if len(path) > DEEPEST:
        raise ConfigError(
            [Problem(where=where, message=f"its path has {len(path)} parts, allowed are {DEEPEST}")]
        )
    if re.fullmatch(r"[A-Za-z_][\w./:-]*", value) and value not in ("true", "false", "inf", "nan"):
        return path, value
    try:
        return path, parse_toml(f"value = {value}")["value"]
    except ValueError:
        allowed = (
            "a number, true, false, a list such as [32, 64], or text, in quotes if it has spaces"
        )
        message = f"got {value}, allowed is one TOML value: {allowed}"
        raise ConfigError([Problem(where=where, key=key, message=message)]) from None


def nested(path: list[str], value: Any) -> dict[str, Any]:
    """A value as nested tables along `path`.

    Example:
        >>> nested(["a", "b"], 1)
        {'a': {'b': 1}}
    """
    for key in reversed(path):
        value = {key: value}
    return value

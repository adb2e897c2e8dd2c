"""An experiment file as layers: its parents' keys below its own, its rows once per backbone role where it asks for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from udonx.config.files import read_toml, shown
from udonx.config.keys import FILE_KEYS, ROW_KEYS, FileOptions
from udonx.config.merge import Layer
from udonx.config.problems import ConfigError, Problem, spell, unknown
from udonx.config.typed import table_options, validate

_LAYERED = frozenset({"inherit", "defaults", "rows", "plugins"})


@attrs.define(kw_only=True)
class Document:
    """An experiment file with its parents: `data` holds the keys that are not layered (the file's own over its parents'), `plain` those
    of FileOptions, complete; `defaults` and each row are layers, parents first."""

    data: dict[str, Any]
    plain: dict[str, Any]
    defaults: list[Layer]
    rows: dict[str, list[Layer]]


def read_document(path: Path, problems: list[Problem]) -> Document:
    """Read an experiment file and those that it inherits from. A row that a parent has too is laid over the parent's; `NAME = false`
    leaves the parent's row out. With `roles`, every row that names no backbone is there once for each role.

    What is wrong with single keys is added to `problems`. Raises ConfigError for a file that cannot be read or inherits in a circle.
    """
    files = _with_parents(path)
    document = Document(data={}, plain={}, defaults=[], rows={})
    plugins: list[str] = []
    for file, content in files:
        where = shown(file)
        _check_keys(content, where, problems)
        document.data |= {key: value for key, value in content.items() if key not in _LAYERED}
        listed = content.get("plugins", [])
        if file != path and isinstance(listed, list):  # a parent's plug-ins lie beside the parent
            listed = [str((file.parent / name).resolve()) if (file.parent / str(name)).is_file() else name for name in listed]
        plugins = [*plugins, *listed] if isinstance(listed, list) else listed
        _add_layers(document, content, where, problems)
    if not document.rows:
        problems.append(Problem(where=shown(path), key="rows", message="there are no rows; add at least one table [rows.NAME]"))
    document.plain = _plain_keys(document.data | ({"plugins": plugins} if plugins else {}), shown(path), problems)
    if document.plain["roles"]:
        document.rows = _per_role(document.rows, document.plain["roles"], shown(path), problems)
    return document


def _with_parents(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The file and those above it, the topmost first."""
    files: list[tuple[Path, dict[str, Any]]] = []
    while True:
        if any(path.resolve() == file.resolve() for file, _ in files):
            circle = " -> ".join([*(file.name for file, _ in files), path.name])
            raise ConfigError([Problem(where=shown(files[0][0]), key="inherit", message=f"the files {circle} inherit in a circle")])
        content = read_toml(path)
        files.append((path, content))
        parent = content.get("inherit")
        if not isinstance(parent, str):
            if parent is not None:
                message = f"got {spell(parent)}, allowed is the path of an experiment file, as seen from this one"
                raise ConfigError([Problem(where=shown(path), key="inherit", message=message)])
            return files[::-1]
        path = path.parent / parent


def _check_keys(content: dict[str, Any], where: str, problems: list[Problem]) -> None:
    for key in [key for key in content if key not in FILE_KEYS]:
        hint = " (a key of a row: put it under [defaults] or [rows.NAME])" if key in ROW_KEYS else ""
        message = f"got {spell(content[key])}, but this is an {unknown(key, FILE_KEYS)}{hint}"
        problems.append(Problem(where=where, key=key, message=message))


def _add_layers(document: Document, content: dict[str, Any], where: str, problems: list[Problem]) -> None:
    defaults, rows = content.get("defaults", {}), content.get("rows", {})
    if not isinstance(defaults, dict):
        problems.append(Problem(where=where, key="defaults", message=f"got {spell(defaults)}, allowed is a table"))
        defaults = {}
    document.defaults.append(Layer(where=where, prefix="defaults", data=defaults))
    if not isinstance(rows, dict):
        problems.append(Problem(where=where, key="rows", message=f"got {spell(rows)}, allowed are tables, [rows.NAME]"))
        return
    for name, row in rows.items():
        if isinstance(row, dict):
            document.rows.setdefault(name, []).append(Layer(where=where, prefix=f"rows.{name}", data=row))
        elif row is False and name in document.rows:
            del document.rows[name]
        elif row is False:
            message = f"got false, but no file above has this row; there are {', '.join(document.rows) or 'none'}"
            problems.append(Problem(where=where, key=f"rows.{name}", message=message))
        else:
            message = f"got {spell(row)}, allowed is a table, or false to leave out a row of the file above"
            problems.append(Problem(where=where, key=f"rows.{name}", message=message))


def _plain_keys(given: dict[str, Any], where: str, problems: list[Problem]) -> dict[str, Any]:
    """The plain keys of a file; one with a problem falls back to its default, so that what stands below it is judged too."""
    options = table_options(FileOptions)
    given = {option.name: given[option.name] for option in options if option.name in given}
    found = validate("file", options, given)[1]
    problems += [Problem(where=where, key=key, message=message) for key, message in found]
    wrong = {key for key, _ in found}
    return validate("file", options, {key: value for key, value in given.items() if key not in wrong})[0]


def _per_role(rows: dict[str, list[Layer]], roles: list[str], where: str, problems: list[Problem]) -> dict[str, list[Layer]]:
    """Every row that names no backbone once per role: under its own name for the first, as ROLE_NAME for the others."""
    result: dict[str, list[Layer]] = {}
    for number, role in enumerate(roles):
        for name, layers in rows.items():
            if any("backbone" in layer.data for layer in layers):
                continue
            new = name if number == 0 else f"{role}_{name}"
            label = next((layer.data["label"] for layer in reversed(layers) if "label" in layer.data), name.replace("_", " "))
            data = {"backbone": role} if number == 0 else {"backbone": role, "label": f"{role}: {label}"}
            if number and new in rows:
                message = f"the row '{name}' for the role '{role}' would be '{new}', which is there already; rename one"
                problems.append(Problem(where=where, key="roles", message=message))
            result[new] = [*layers, Layer(where=where, prefix=f"rows.{name}", data=data)]
    return result | {name: layers for name, layers in rows.items() if name not in result}

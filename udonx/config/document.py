"""An experiment file as layers.

Its parents' keys lie below its own. Its rows are made once per value of a grid and per backbone
role where it asks for that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from udonx.common.words import did_you_mean, display_path, format_value, unknown
from udonx.config.grids import expand_grids
from udonx.config.keys import FILE_KEYS, ROW_KEYS, FileOptions
from udonx.config.labels import label_of_name
from udonx.config.merge import Layer
from udonx.config.problems import ConfigError, Problem
from udonx.config.toml_files import SHIPPED, is_there, read_toml
from udonx.config.typed import table_options, validate


@attrs.define(kw_only=True)
class Document:
    """An experiment file with those that it inherits from, parents first.

    Attributes:
        plain: the keys of FileOptions, complete; a key with a problem has its default.
        plugins: per file its path and what it lists.
        settings: per file that has one its path and its `setting`, a name or a table.
        results: per file that has one its place and its [results].
        tune: the last file that has [tune], as its place and what it says.
        defaults: the layer of [defaults] of each file.
        rows: the layers of each row; a row that a parent has too has a layer of each.
        roles: rows that `roles` made, other than for the first role -> the role.
        grids: rows that had a grid -> the rows that it made.
        left_out: rows that `NAME = false` left out -> the file that says so.
    """

    plain: dict[str, Any] = attrs.field(factory=dict)
    plugins: list[tuple[Path, list[str]]] = attrs.field(factory=list)
    settings: list[tuple[Path, Any]] = attrs.field(factory=list)
    results: list[tuple[str, Any]] = attrs.field(factory=list)
    tune: tuple[str, Any] | None = None
    defaults: list[Layer] = attrs.field(factory=list)
    rows: dict[str, list[Layer]] = attrs.field(factory=dict)
    roles: dict[str, str] = attrs.field(factory=dict)
    grids: dict[str, list[str]] = attrs.field(factory=dict)
    left_out: dict[str, str] = attrs.field(factory=dict)

    def named(self) -> dict[str, list[str]]:
        """The rows that each name stands for: a row's for itself, a grid's for those it made."""
        grids = {
            name: [each for each in made if each in self.rows] for name, made in self.grids.items()
        }
        return {name: [name] for name in self.rows} | grids


def read_document(path: Path, problems: list[Problem]) -> Document:
    """Read an experiment file and those that it inherits from.

    A row that a parent has too is laid over the parent's; `NAME = false` leaves a row out, or all
    rows of a grid. A row with a grid is there once for each of its values. With `roles`, every row
    that names no backbone is there once for each role. It has its own name for the first role and
    is called ROLE_NAME for the others. A row that the file has under that name lies over it.

    Args:
        path: the file.
        problems: what is wrong with single keys is added to them.

    Raises:
        ConfigError: a file cannot be read, or inherits in a circle.
    """
    document = Document(plain=validate(table_options(FileOptions), {})[0])
    left_out: dict[str, str] = {}
    for file, content in _with_parents(path):
        where = display_path(file)
        _check_keys(content, where, problems)
        given = _plain_keys(content, where, problems)
        listed = given.pop("plugins", [])
        if file != path:  # a parent's plug-ins lie beside the parent
            listed = [
                str((file.parent / name).resolve()) if (file.parent / name).is_file() else name
                for name in listed
            ]
        document.plugins.append((file, listed))
        document.plain |= given
        if "setting" in content:
            document.settings.append((file, content["setting"]))
        if "results" in content:
            document.results.append((where, content["results"]))
        if "tune" in content:
            document.tune = (where, content["tune"])
        _add_layers(document, content, where, left_out, problems)
    document.rows, document.grids = expand_grids(document.rows, problems)
    if document.plain["roles"]:
        _make_roles(document, display_path(path), problems)
    for name, where in left_out.items():
        named = document.named()
        if name not in named:
            message = f"got false, but this is an {unknown(name, named, 'row')}"
            problems.append(Problem(where=where, key=f"rows.{name}", message=message))
        for each in named.get(name, ()):
            del document.rows[each]
            document.left_out[each] = where
    if not document.rows:
        problems.append(
            Problem(
                where=display_path(path),
                key="rows",
                message="there are no rows; add at least one table [rows.NAME]",
            )
        )
    return document


def _with_parents(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The file and those above it, the topmost first."""
    files = [(path, read_toml(path))]
    while (parent := files[-1][1].get("inherit")) is not None:
        below = files[-1][0]

        def problem(message: str, below: Path = below) -> ConfigError:
            return ConfigError([Problem(where=display_path(below), key="inherit", message=message)])

        if not isinstance(parent, str):
            raise problem(
                f"got {format_value(parent)}, allowed is the path of an experiment file, as seen"
                " from this one"
            )
        above = below.parent / parent
        if not is_there(above) and is_there(SHIPPED / parent):
            above = SHIPPED / parent
        if not is_there(above) or above.is_dir():
            there = [
                file.name
                for file in below.parent.glob("*.toml")
                if file.resolve() != below.resolve()
            ]
            raise problem(
                f"got {format_value(parent)}, but there is no such"
                f" file{did_you_mean(Path(parent).name, there)}"
            )
        if any(above.samefile(file) for file, _ in files):
            circle = " -> ".join([*(file.name for file, _ in files), above.name])
            raise problem(f"the files {circle} inherit in a circle")
        files.append((above, read_toml(above)))
    return files[::-1]


def _check_keys(content: dict[str, Any], where: str, problems: list[Problem]) -> None:
    for key in [key for key in content if key not in FILE_KEYS]:
        hint = (
            " (a key of a row: put it under [defaults] or [rows.NAME])" if key in ROW_KEYS else ""
        )
        message = (
            f"got {format_value(content[key])}, but this is an {unknown(key, FILE_KEYS)}{hint}"
        )
        problems.append(Problem(where=where, key=key, message=message))


def _plain_keys(content: dict[str, Any], where: str, problems: list[Problem]) -> dict[str, Any]:
    """The plain keys that a file gives, without those that have a problem.

    So what stands below them is judged too.
    """
    options = table_options(FileOptions)
    given = {option.name: content[option.name] for option in options if option.name in content}
    found = validate(options, given)[1]
    problems += [Problem(where=where, key=key, message=message) for key, message in found]
    return {key: value for key, value in given.items() if key not in {key for key, _ in found}}


def _add_layers(
    document: Document,
    content: dict[str, Any],
    where: str,
    left_out: dict[str, str],
    problems: list[Problem],
) -> None:
    defaults, rows = content.get("defaults", {}), content.get("rows", {})
    if not isinstance(defaults, dict):
        problems.append(
            Problem(
                where=where,
                key="defaults",
                message=f"got {format_value(defaults)}, allowed is a table",
            )
        )
        defaults = {}
    document.defaults.append(Layer(where=where, prefix="defaults", data=defaults))
    if not isinstance(rows, dict):
        problems.append(
            Problem(
                where=where,
                key="rows",
                message=f"got {format_value(rows)}, allowed are tables, [rows.NAME]",
            )
        )
        return
    for name, row in rows.items():
        if isinstance(row, dict):
            document.rows.setdefault(name, []).append(
                Layer(where=where, prefix=f"rows.{name}", data=row)
            )
            # a file above left out a row of this name; here it is there again
            left_out.pop(name, None)
            document.left_out.pop(name, None)
        elif row is False and name in document.rows:
            del document.rows[name]
            document.left_out[name] = where
        elif row is False:  # perhaps one that `roles` makes
            left_out[name] = where
        else:
            message = f"got {format_value(row)}, allowed is a table, or false to leave out a row"
            problems.append(Problem(where=where, key=f"rows.{name}", message=message))


def _make_roles(document: Document, where: str, problems: list[Problem]) -> None:
    """Every row that names no backbone once per role."""
    first, *others = document.plain["roles"]
    if any("backbone" in layer.data for layer in document.defaults):
        message = (
            "says which backbone all rows have, and so does [defaults] with `backbone`; keep one of"
            " them"
        )
        problems.append(Problem(where=where, key="roles", message=message))
    if len({first, *others}) < 1 + len(others):
        message = f"got {format_value(document.plain['roles'])}, allowed is each role once"
        problems.append(Problem(where=where, key="roles", message=message))
        return
    own = document.rows
    named = {
        name for name, layers in own.items() if any("backbone" in layer.data for layer in layers)
    }
    over = {f"{role}_{name}" for role in others for name in own if name not in named} & set(own)
    bases = {name: layers for name, layers in own.items() if name not in named | over}
    document.rows = {
        name: [*layers, _role_layer(name, layers, first, labelled=False)]
        for name, layers in bases.items()
    }
    for role in others:
        for name, layers in bases.items():
            made = f"{role}_{name}"
            if made in document.roles:
                message = (
                    f"the row '{name}' for the role '{role}' would be '{made}', as that of another"
                    " row and role; rename one"
                )
                problems.append(Problem(where=where, key="roles", message=message))
            document.roles[made] = role
            document.rows[made] = [
                *layers,
                _role_layer(name, layers, role, labelled=True),
                *own.get(made, []),
            ]
    document.rows |= {name: layers for name, layers in own.items() if name in named - over}
    _make_grids_of_roles(document, others, where, problems)


def _make_grids_of_roles(
    document: Document, others: list[str], where: str, problems: list[Problem]
) -> None:
    """The rows of each grid for each further role, under the name ROLE_NAME of the grid."""
    for name, made in list(document.grids.items()):
        for role in others:
            its = [f"{role}_{each}" for each in made if f"{role}_{each}" in document.roles]
            if its and f"{role}_{name}" in document.named():
                message = (
                    f"the grid '{name}' for the role '{role}' would be '{role}_{name}', as another"
                    " row or grid; rename one"
                )
                problems.append(Problem(where=where, key="roles", message=message))
            elif its:
                document.grids[f"{role}_{name}"] = its


def _role_layer(name: str, layers: list[Layer], role: str, *, labelled: bool) -> Layer:
    label = next(
        (layer.data["label"] for layer in reversed(layers) if "label" in layer.data),
        label_of_name(name),
    )
    data = {"backbone": role} | ({"label": f"{role}: {label}"} if labelled else {})
    return Layer(where=layers[0].where, prefix=layers[0].prefix, data=data)

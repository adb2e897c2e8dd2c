"""Rows that a grid makes: `[rows.NAME.grid]` holds lists of values, and each combination is a row.

Every value becomes a layer over those of the row. What follows (schemes, types, ids) sees rows that
might have been written by hand.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from udonx.common.words import format_value
from udonx.config.keys import VIEW
from udonx.config.labels import escape, label_of_name
from udonx.config.merge import Layer
from udonx.config.overrides import nested
from udonx.config.problems import Problem
from udonx.config.toml_files import DEEPEST

MOST_ROWS = 100
"""How many rows one grid may make."""

_Path = tuple[str, ...]
_Rows = dict[str, list[Layer]]


@attrs.frozen(kw_only=True)
class _Axis:
    """One list of a grid.

    Attributes:
        path: the keys that lead to the value in a row.
        values: what the rows have there, one after another.
        grid: the layer of the grid that holds the list.
    """

    path: _Path
    values: Any
    grid: Layer

    def layer(self, value: Any) -> Layer:
        """What a row that has this value says."""
        return attrs.evolve(self.grid, data=nested(list(self.path), value))

    def problem(self, message: str) -> Problem:
        """A problem of the list."""
        key = ".".join((self.grid.prefix, *self.path))
        return Problem(where=self.grid.where, key=key, message=message)


def expand_grids(rows: _Rows, problems: list[Problem]) -> tuple[_Rows, dict[str, list[str]]]:
    """Rows with a grid replaced by those that it makes.

    A row without a grid under the name of a made one lies over it. Lists that have a problem are
    left out, so that everything else is judged too.

    Args:
        rows: the layers of each row, those of parents first.
        problems: what is wrong with the grids is added to them.

    Returns:
        The layers of all rows, and the names of the made ones by the name of their row.
    """
    plain = {name: [_without_grid(layer) for layer in layers] for name, layers in rows.items()}
    made: dict[str, list[tuple[str, list[Layer]]]] = {}
    for name, layers in rows.items():
        if axes := _read_axes(layers, problems):
            made[name] = list(_made_rows(name, plain[name], axes))
    names = Counter(each for group in made.values() for each, _ in group)
    found: _Rows = {}
    for name, layers in plain.items():
        if name not in made and name not in names:
            found[name] = layers
        for each, its_layers in made.get(name, ()):
            if names[each] > 1 or each in made:
                message = f"makes a row '{each}', as another grid or value does; rename one"
                problems.append(_grid_problem(rows[name], message))
            found[each] = [*its_layers, *plain.get(each, ())]
    return found, {name: [each for each, _ in group] for name, group in made.items()}


def _without_grid(layer: Layer) -> Layer:
    return attrs.evolve(
        layer, data={key: item for key, item in layer.data.items() if key != "grid"}
    )


def _grid_problem(layers: list[Layer], message: str) -> Problem:
    """A problem of a row's grid, where it was written last."""
    layer = next(layer for layer in reversed(layers) if "grid" in layer.data)
    return Problem(where=layer.where, key=f"{layer.prefix}.grid", message=message)


# --------------------------------------------------------------------------------- what is varied


def _read_axes(layers: list[Layer], problems: list[Problem]) -> list[_Axis]:
    """The lists of a row's grid that are sound; a later layer's count."""
    axes: dict[_Path, _Axis] = {}
    for layer in (layer for layer in layers if "grid" in layer.data):
        value = layer.data["grid"]
        if value is False:  # without the grid of the file above
            axes = {}
            continue
        if not isinstance(value, dict) or not value:
            message = f"got {format_value(value)}, allowed are lists of values, KEY = [...]"
            problems.append(_grid_problem([layer], message))
            continue
        grid = attrs.evolve(layer, prefix=f"{layer.prefix}.grid", data={})
        own = [_Axis(path=path, values=values, grid=grid) for path, values in _leaves(value)]
        times = Counter(axis.path for axis in own)
        problems += [
            axis.problem("has two lists; keep one of them") for axis in own if times[axis.path] > 1
        ]
        axes |= {axis.path: axis for axis in own}
    problems += _inside_another(axes)
    sound = []
    for axis in axes.values():
        if complaint := _complaint(axis):
            problems.append(axis.problem(complaint))
        else:
            sound.append(axis)
    counts = [len(axis.values) for axis in sound]
    if math.prod(counts) <= MOST_ROWS:
        return sound
    message = f"makes {math.prod(counts)} rows, allowed are {MOST_ROWS}; leave out some values"
    problems.append(_grid_problem(layers, message))
    return []


def _leaves(table: dict[str, Any], above: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """What stands at the ends of nested tables; a dot in a key is that of a path, as in `--set`."""
    for key, value in table.items():
        path = (*above, *key.split("."))
        if isinstance(value, dict) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


def _complaint(axis: _Axis) -> str | None:
    """What is wrong with one list; its values are judged in the rows that they make."""
    got = f"got {format_value(axis.values)}"
    if axis.path[0] in VIEW:
        return f"{got}, but this key says how a row is shown; a grid is of what is computed"
    if len(axis.path) > DEEPEST:
        return f"{got}, but its path has {len(axis.path)} parts, allowed are {DEEPEST}"
    if not isinstance(axis.values, list) or not axis.values:
        return f"{got}, allowed is a list of one value or more, such as [32, 64]"
    if any(isinstance(value, dict) for value in axis.values):
        return f"{got}, allowed are no tables in a list; give each key of a table a list of its own"
    if len({format_value(value) for value in axis.values}) < len(axis.values):
        return f"{got}, allowed is each value once"
    return None


def _inside_another(axes: dict[_Path, _Axis]) -> Iterator[Problem]:
    """Lists of a key and of a table around it, of which one would undo the other."""
    for path, axis in axes.items():
        for end in range(1, len(path)):
            if path[:end] in axes:
                around = ".".join(path[:end])
                yield axis.problem(f"has a list, and so has '{around}' around it; keep one of them")


# ----------------------------------------------------------------------------------- what is made


def _made_rows(
    name: str, layers: list[Layer], axes: Sequence[_Axis]
) -> Iterator[tuple[str, list[Layer]]]:
    """Name and layers of every row of a grid, the last list changing fastest."""
    keys = _short_keys(axes)
    label = next(
        (layer.data["label"] for layer in reversed(layers) if "label" in layer.data),
        label_of_name(name),
    )
    for values in itertools.product(*(axis.values for axis in axes)):
        texts = [value if isinstance(value, str) else format_value(value) for value in values]
        parts = [f"{key} {text}" for key, text in zip(keys, texts, strict=True)]
        made = "_".join([name, *(re.sub(r"[^\w-]+", "_", part).strip("_") for part in parts)])
        own = [axis.layer(value) for axis, value in zip(axes, values, strict=True)]
        if isinstance(label, str):  # else it is a problem of the row
            text = ", ".join([label, *(escape(part.replace("_", " ")) for part in parts)])
            own.append(attrs.evolve(layers[0], data={"label": text}))
        yield made, [*layers, *own]


def _short_keys(axes: Sequence[_Axis]) -> list[str]:
    """What each list is called in names and labels: the last part of its path, if that tells."""
    last = Counter(axis.path[-1] for axis in axes)
    return [axis.path[-1] if last[axis.path[-1]] == 1 else " ".join(axis.path) for axis in axes]

"""`[tune.space]`: the keys that are searched, as a file gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from registry.contracts import Dimension
from udonx.common.words import did_you_mean, dotted_key, format_value, unknown
from udonx.config.keys import ROW_KEYS, VIEW, DimensionOptions
from udonx.config.toml_files import DEEPEST
from udonx.config.tuning import SPACE
from udonx.config.typed import table_options, validate

_ENDS = ("low", "high", "of")

KeyPath = tuple[str, ...]
Report = Callable[[str, str], None]
"""Notes a problem: (key of the table, what is wrong)."""


@attrs.frozen(kw_only=True)
class GivenDimension:
    """A dimension as the file gives it.

    Attributes:
        key: its key below `space`.
        rows: the rows that it is for; None for all that have a slot for it.
        dimension: its values; whether they are whole is known for a row only.
    """

    key: str
    rows: Sequence[str] | None
    dimension: Dimension

    @property
    def path(self) -> KeyPath:
        """The keys that lead to the value in a row."""
        return tuple(self.dimension.path.split("."))

    @property
    def table(self) -> str:
        """The table that the path begins in: that of all rows, or of one."""
        return dotted_key(SPACE, self.key.removesuffix(self.dimension.path).rstrip("."))


def read_space(
    space: Any, named: Mapping[str, Sequence[str]], problem: Report
) -> Iterator[GivenDimension]:
    """The dimensions that are sound by themselves.

    Args:
        space: what stands there.
        named: the rows that each name in the file stands for.
        problem: notes what is wrong.
    """
    if not isinstance(space, dict) or not space:
        example = "optimiser.lr_heads = { low = 1e-4, high = 1e-2, log = true }"
        what = "is empty" if space == {} else f"got {format_value(space)}"
        problem("space", f"{what}, allowed are keys of rows, each with its values: {example}")
        return
    leaves = list(_leaves(space))
    paths = [path for path, _ in leaves]
    for path, value in leaves:
        key = ".".join(path)
        if complaint := _path_complaint(path, paths, named):
            problem(f"space.{key}", f"got {format_value(value)}, {complaint}")
            continue
        rows, own = (named[path[1]], path[2:]) if path[0] == "rows" else (None, path)
        dimension = _read_dimension(".".join(own), f"space.{key}", value, problem)
        if dimension is not None:
            yield GivenDimension(key=key, rows=rows, dimension=dimension)


def _leaves(table: dict[str, Any], above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """What stands at the ends of nested tables: a table with one of a dimension's own keys.

    A dot in a key is that of a path, as in `--set`.
    """
    for key, value in table.items():
        path = (*above, *key.split("."))
        own = {name for name in _ENDS if isinstance(value, dict) and name in value}
        if isinstance(value, dict) and value and all(isinstance(value[name], dict) for name in own):
            yield from _leaves(value, path)
        else:
            yield path, value


def _path_complaint(
    path: KeyPath, paths: Sequence[KeyPath], named: Mapping[str, Sequence[str]]
) -> str | None:
    """What is wrong with where a dimension leads."""
    if len(path) > DEEPEST:
        return f"but its path has {len(path)} parts, allowed are {DEEPEST}"
    if paths.count(path) > 1:
        return "but this key has values twice; keep one of them"
    for end in range(1, len(path)):
        if path[:end] in paths:
            around = ".".join(path[:end])
            return f"but so has '{around}' around it; keep one of them"
    if path[0] == "rows":
        if len(path) < 3:
            return "allowed is a key of the row: rows.NAME.KEY"
        if path[1] not in named:
            hint = did_you_mean(path[1], named) or ";"
            return f"but there is no row '{path[1]}'{hint} the rows are {', '.join(named)}"
        path = path[2:]
    if path[0] in VIEW:
        return "but this key says how a row is shown; allowed is what is computed"
    if path[0] == "init" and path[1:] in ((), ("from",)):
        return "but all trials start from the same rows; allowed are options of `init`"
    if path[0] == "setting":
        return "but all trials have the same setting; allowed are keys of rows"
    if path[0] not in ROW_KEYS:
        return f"but this is an {unknown(path[0], ROW_KEYS)}"
    return None


def _read_dimension(path: str, key: str, value: Any, problem: Report) -> Dimension | None:
    """One dimension; None where it has a problem."""
    options, wrong = validate(table_options(DimensionOptions), value)
    for name, message in wrong:
        hint = "; write { of = [...] }" if isinstance(value, list) else ""
        problem(dotted_key(key, name), f"{message}{hint}")
    if wrong:
        return None
    if complaint := _complaint(options, value):
        problem(key, f"got {format_value(value)}, {complaint}")
        return None
    # as they were written: a key of whole numbers takes no others
    return Dimension(
        path=path,
        low=value.get("low"),
        high=value.get("high"),
        log=options["log"],
        values=tuple(value["of"]) if "of" in value else None,
    )


def _complaint(options: dict[str, Any], given: dict[str, Any]) -> str | None:
    """What is wrong with the values of one dimension."""
    low, high, values = options["low"], options["high"], options["of"]
    if values is not None:
        if len(given) > 1:
            return "allowed are `low` and `high`, or `of` alone"
        if not values:
            return "allowed is a list of one value or more, such as of = [32, 64]"
        if len({format_value(value) for value in values}) < len(values):
            return "allowed is each value once"
        return None
    if low is None or high is None:
        return "allowed are both `low` and `high`, or `of` with a list"
    if low >= high:
        return "but `low` must be less than `high`"
    if options["log"] and low <= 0:
        return "but with `log` the range must lie above 0"
    return None

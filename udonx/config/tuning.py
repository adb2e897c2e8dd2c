"""`[tune]` of a file: which options of its rows are searched, and how.

A trial is a row with a layer of values over its own, as `--set rows.NAME...` puts there: what a
value means, and what is wrong with it, is what it would be in the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from registry.contracts import ComponentSpec, Dimension, Search
from udonx.common.words import did_you_mean, dotted_key, format_value, unknown
from udonx.config import descriptions as components
from udonx.config.document import Document
from udonx.config.keys import COMMON, ROW_KEYS, VIEW, DimensionOptions, TuneOptions
from udonx.config.layers import Layers
from udonx.config.merge import Layer
from udonx.config.overrides import nested, parse_override
from udonx.config.problems import ConfigError, Problem
from udonx.config.rows import RowConfig, resolve_row
from udonx.config.toml_files import DEEPEST
from udonx.config.typed import table_options, validate

_TABLE = "tune"
_SPACE = "tune.space"
_ENDS = ("low", "high", "of")

_Path = tuple[str, ...]
_Report = Callable[[str, str], None]
"""Notes a problem: (key of the table, what is wrong)."""


@attrs.frozen(kw_only=True)
class Tuning:
    """`[tune]`, resolved.

    Attributes:
        search: which search, with its options.
        trials: how many trials each row gets, the row as it is among them.
        seeds: with which each trial is trained; None for those of the rows.
        spaces: the dimensions of each row that has some, by its name.
        where: the file that has the table.
        layers: those of all rows, from which trials are made.
        roles: whether the file makes rows by `roles`.
    """

    search: ComponentSpec
    trials: int
    seeds: tuple[int, ...] | None
    spaces: dict[str, tuple[Dimension, ...]]
    where: str
    layers: Layers = attrs.field(repr=False)
    roles: bool

    def problems(self) -> list[Problem]:
        """What keeps from tuning here, such as a package that is not installed.

        The rows of the file can be trained all the same.
        """
        use = self.search.use
        found = components.own_problems("searches", use, {"use": use, **self.search.options})
        if self.roles:
            message = (
                "cannot tune a file with `roles`: what is best of a row would be taken over by"
                " the same row for other roles; write each row out, as `udonx show FILE` does"
            )
            found.append(("", message))
        return [
            Problem(where=self.where, key=dotted_key(_TABLE, key), message=message)
            for key, message in found
        ]

    def overridden(self, texts: Iterable[str]) -> Iterator[Problem]:
        """Texts of `--set` that change what is searched: nothing of them would be left."""
        searched = {each.path for space in self.spaces.values() for each in space}
        for text in texts:
            path, _ = parse_override(text)
            key = ".".join(path[2:] if path[0] == "rows" else path)
            if any(f"{each}.".startswith(f"{key}.") for each in searched):
                message = "is searched by [tune.space]; leave out one of the two"
                yield Problem(where=f"--set {text}", key=key, message=message)

    def make_search(self, row: str) -> Search:
        """What chooses the trials of a row.

        Raises:
            ConfigError: it cannot search the row's dimensions.
        """
        cls = components.registry_of("searches").get(self.search.use)
        try:
            return cls(self.spaces[row], self.trials, **self.search.options)
        except ValueError as error:
            message = f"got {format_value(self.search.use)}, but {error}"
            problem = Problem(where=self.where, rows=(row,), key=f"{_TABLE}.use", message=message)
            raise ConfigError([problem]) from error

    def row_with(self, row: RowConfig, values: Mapping[str, Any]) -> RowConfig:
        """A row with other values.

        Args:
            row: the row as it is.
            values: by their paths.

        Raises:
            ConfigError: the values do not fit together.
        """
        layers = [
            Layer(where=self.where, prefix=_SPACE, data=nested(path.split("."), value))
            for path, value in values.items()
        ]
        problems: list[Problem] = []
        changed = _resolve(row.name, self.layers, layers, problems)
        if changed is None:
            raise ConfigError(problems)
        return attrs.evolve(changed, skipped=row.skipped, sources=row.sources)

    def to_plain(self, rows: Iterable[str]) -> dict[str, Any]:
        """The table for some rows, as TOML that resolves to the same."""
        space = {
            f"rows.{row}.{dimension.path}": _dimension_to_plain(dimension)
            for row in rows
            for dimension in self.spaces.get(row, ())
        }
        seeds = {} if self.seeds is None else {"seeds": list(self.seeds)}
        about = {"use": self.search.use, "trials": self.trials, **seeds, **self.search.options}
        return {**about, "space": space} if space else {}


def _dimension_to_plain(dimension: Dimension) -> dict[str, Any]:
    if dimension.values is not None:
        return {"of": list(dimension.values)}
    ends = {"low": dimension.low, "high": dimension.high}
    return {**ends, "log": True} if dimension.log else ends


def value_in(row: RowConfig, dimension: Dimension) -> Any:
    """The value that a row has at a dimension; None where it has none.

    A component that is given by its name alone has that as its value.
    """
    value: Any = row.data
    for key in dimension.path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    named = dimension.values is not None and all(isinstance(item, str) for item in dimension.values)
    return value.get("use") if named and isinstance(value, dict) else value


# --------------------------------------------------------------------------------------- reading


@attrs.frozen(kw_only=True)
class _Given:
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
    def path(self) -> _Path:
        """The keys that lead to the value in a row."""
        return tuple(self.dimension.path.split("."))


def read_tuning(
    document: Document, rows: Sequence[RowConfig], layers: Layers, problems: list[Problem]
) -> Tuning | None:
    """The `[tune]` of a file, or of one that it inherits from.

    Args:
        document: the file.
        rows: those of its rows that could be resolved.
        layers: of all rows.
        problems: everything that is wrong is added to them.

    Returns:
        None where there is none, or where it has a problem.
    """
    if document.tune is None:
        return None
    where, table = document.tune
    found: list[Problem] = []

    def problem(key: str, message: str, rows: tuple[str, ...] = ()) -> None:
        found.append(Problem(where=where, rows=rows, key=dotted_key(_TABLE, key), message=message))

    if not isinstance(table, dict):
        problem("", f"got {format_value(table)}, allowed is a table")
        problems += found
        return None
    own = _own_keys(table, problem)
    search = _read_search(own["use"], table, own.keys(), problem)
    dimensions = list(_read_space(table.get("space", {}), document.named(), problem))
    complete = len(rows) == len(layers.rows)
    spaces: dict[str, tuple[Dimension, ...]] = {}
    for row in rows:
        its = [each for each in dimensions if _is_of(each, row)]
        judged = (_judged(each, row, layers, where, found) for each in its)
        if space := tuple(each for each in judged if each is not None):
            spaces[row.name] = space
    for each in dimensions:
        if complete and not any(_is_of(each, row) for row in rows):
            got = format_value(_dimension_to_plain(each.dimension))
            problem(f"space.{each.key}", f"got {got}, but no row here has a slot for it")
    problems += found
    if search is None or found:
        return None
    tuning = Tuning(
        search=search,
        trials=own["trials"],
        seeds=None if own["seeds"] is None else tuple(dict.fromkeys(own["seeds"])),
        spaces=spaces,
        where=where,
        layers=layers,
        roles=bool(document.roles),
    )
    problems += _search_problems(tuning)
    return tuning


def _own_keys(table: dict[str, Any], problem: _Report) -> dict[str, Any]:
    """The own keys of the table, complete; one that has a problem has its default."""
    options = table_options(TuneOptions)
    given = {option.name: table[option.name] for option in options if option.name in table}
    for key, message in validate(options, given)[1]:
        problem(key, message)
        given.pop(key, None)
    return validate(options, given)[0]


def _read_search(
    use: str, table: dict[str, Any], own_names: Iterable[str], problem: _Report
) -> ComponentSpec | None:
    """The search that a table names, with the options that stand beside its own keys."""
    registry = components.registry_of("searches")
    if use not in registry.names():
        what = unknown(use, registry.names(), "component of searches")
        problem("use", f"got {format_value(use)}, which is an {what}")
        return None
    component = components.describe("searches", use)
    reserved = {*own_names, "space"}
    given = {key: value for key, value in table.items() if key not in reserved}
    options, wrong = validate(component.options, given, also=reserved)
    for key, message in wrong:
        problem(key, message)
    if wrong:
        return None
    sound = {key: value for key, value in options.items() if value is not None}
    return ComponentSpec(use=use, options=sound)


def _search_problems(tuning: Tuning) -> Iterator[Problem]:
    """Rows whose dimensions the search cannot have."""
    for row in tuning.spaces:
        try:
            tuning.make_search(row)
        except ConfigError as error:
            yield from error.problems
        except Exception as error:  # a plug-in's own code
            message = (
                f"'{tuning.search.use}' failed while it was built: {type(error).__name__}: {error}"
            )
            yield Problem(where=tuning.where, key=f"{_TABLE}.use", message=message)


def _read_space(
    space: Any, named: Mapping[str, Sequence[str]], problem: _Report
) -> Iterator[_Given]:
    """The dimensions that are sound by themselves."""
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
            yield _Given(key=key, rows=rows, dimension=dimension)


def _leaves(table: dict[str, Any], above: _Path = ()) -> Iterator[tuple[_Path, Any]]:
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
    path: _Path, paths: Sequence[_Path], named: Mapping[str, Sequence[str]]
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


def _read_dimension(path: str, key: str, value: Any, problem: _Report) -> Dimension | None:
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


# -------------------------------------------------------------------------------------- of a row


def _is_of(given: _Given, row: RowConfig) -> bool:
    """Whether a row has a dimension: it is named, or has a slot for the key, as with `--set`."""
    if given.rows is not None:
        return row.name in given.rows
    key, *below = given.path
    if key == "losses" and below:
        recipe = row.spec.recipe
        return recipe is not None and any(loss.name == below[0] for loss in recipe.losses)
    return key in COMMON | row.scheme.slots


def _judged(
    given: _Given, row: RowConfig, layers: Layers, where: str, problems: list[Problem]
) -> Dimension | None:
    """A dimension as a row has it; None where the row cannot have one of its values."""
    dimension = given.dimension
    own: list[Problem] = []
    for value in dimension.values or (dimension.low, dimension.high):
        _with_value(given, value, row, layers, where, own)
    problems += own
    if own or dimension.values is not None:
        return None if own else dimension
    assert dimension.low is not None and dimension.high is not None
    # between two values that fit only a key of whole numbers refuses one
    between = (dimension.low + dimension.high) / 2
    whole = _with_value(given, between, row, layers, where, []) is None
    return attrs.evolve(dimension, whole=whole)


def _with_value(
    given: _Given,
    value: Any,
    row: RowConfig,
    layers: Layers,
    where: str,
    problems: list[Problem],
) -> RowConfig | None:
    """A row with one value of a dimension."""
    layer = Layer(where=where, prefix=_SPACE, data=nested(list(given.path), value))
    return _resolve(row.name, layers, [layer], problems)


def _resolve(
    name: str, layers: Layers, over: list[Layer], problems: list[Problem]
) -> RowConfig | None:
    """A row with layers over all of its own."""
    own = [*layers.row_overrides.get(name, ()), *over]
    changed = attrs.evolve(layers, row_overrides={**layers.row_overrides, name: own})
    return resolve_row(name, changed, problems)[0]

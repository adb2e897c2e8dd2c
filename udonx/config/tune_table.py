"""`[tune]` of a file: read with all that is wrong with it, for the rows of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from registry.contracts import ComponentSpec, Dimension
from udonx.common.words import dotted_key, format_value, unknown
from udonx.config import descriptions as components
from udonx.config.document import Document
from udonx.config.keys import COMMON, TuneOptions
from udonx.config.layers import Layers
from udonx.config.merge import Layer
from udonx.config.overrides import nested
from udonx.config.problems import ConfigError, Problem
from udonx.config.rows import RowConfig
from udonx.config.tune_space import GivenDimension, Report, read_space
from udonx.config.tuning import TABLE, Tuning, dimension_to_plain, resolve_under
from udonx.config.typed import table_options, validate


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
        found.append(Problem(where=where, rows=rows, key=dotted_key(TABLE, key), message=message))

    if not isinstance(table, dict):
        problem("", f"got {format_value(table)}, allowed is a table")
        problems += found
        return None
    own = _own_keys(table, problem)
    search = _read_search(own["use"], table, own.keys(), problem)
    dimensions = list(read_space(table.get("space", {}), document.named(), problem))
    complete = len(rows) == len(layers.rows)
    spaces: dict[str, tuple[Dimension, ...]] = {}
    for row in rows:
        its = [each for each in dimensions if _is_of(each, row)]
        judged = (_judged(each, row, layers, where, found) for each in its)
        if space := tuple(each for each in judged if each is not None):
            spaces[row.name] = space
    for each in dimensions:
        if complete and not any(_is_of(each, row) for row in rows):
            got = format_value(dimension_to_plain(each.dimension))
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


def _own_keys(table: dict[str, Any], problem: Report) -> dict[str, Any]:
    """The own keys of the table, complete; one that has a problem has its default."""
    options = table_options(TuneOptions)
    given = {option.name: table[option.name] for option in options if option.name in table}
    for key, message in validate(options, given)[1]:
        problem(key, message)
        given.pop(key, None)
    return validate(options, given)[0]


def _read_search(
    use: str, table: dict[str, Any], own_names: Iterable[str], problem: Report
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
            yield Problem(where=tuning.where, key=f"{TABLE}.use", message=message)


# -------------------------------------------------------------------------------------- of a row


def _is_of(given: GivenDimension, row: RowConfig) -> bool:
    """Whether a row has a dimension: it is named, or has a slot for the key, as with `--set`."""
    if given.rows is not None:
        return row.name in given.rows
    key, *below = given.path
    if key == "losses" and below:
        recipe = row.spec.recipe
        return recipe is not None and any(loss.name == below[0] for loss in recipe.losses)
    return key in COMMON | row.scheme.slots


def _judged(
    given: GivenDimension, row: RowConfig, layers: Layers, where: str, problems: list[Problem]
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
    given: GivenDimension,
    value: Any,
    row: RowConfig,
    layers: Layers,
    where: str,
    problems: list[Problem],
) -> RowConfig | None:
    """A row with one value of a dimension."""
    layer = Layer(where=where, prefix=given.table, data=nested(list(given.path), value))
    return resolve_under(row.name, layers, [layer], problems)

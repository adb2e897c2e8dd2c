"""`[tune]` of a file: which options of its rows are searched, and how.

A trial is a row with a layer of values over its own, as `--set rows.NAME...` puts there: what a
value means, and what is wrong with it, is what it would be in the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from registry.contracts import ComponentSpec, Dimension, Search
from udonx.common.words import dotted_key, format_value
from udonx.config import descriptions as components
from udonx.config.layers import Layers
from udonx.config.merge import Layer
from udonx.config.overrides import nested, parse_override
from udonx.config.problems import ConfigError, Problem
from udonx.config.rows import RowConfig, resolve_row

TABLE = "tune"
SPACE = "tune.space"


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
            Problem(where=self.where, key=dotted_key(TABLE, key), message=message)
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
            problem = Problem(where=self.where, rows=(row,), key=f"{TABLE}.use", message=message)
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
            Layer(where=self.where, prefix=SPACE, data=nested(path.split("."), value))
            for path, value in values.items()
        ]
        problems: list[Problem] = []
        changed = resolve_under(row.name, self.layers, layers, problems)
        if changed is None:
            raise ConfigError(problems)
        return attrs.evolve(changed, skipped=row.skipped, sources=row.sources)

    def to_plain(self, rows: Iterable[str]) -> dict[str, Any]:
        """The table for some rows, as TOML that resolves to the same."""
        space = {
            f"rows.{row}.{dimension.path}": dimension_to_plain(dimension)
            for row in rows
            for dimension in self.spaces.get(row, ())
        }
        seeds = {} if self.seeds is None else {"seeds": list(self.seeds)}
        about = {"use": self.search.use, "trials": self.trials, **seeds, **self.search.options}
        return {**about, "space": space} if space else {}


def dimension_to_plain(dimension: Dimension) -> dict[str, Any]:
    """The values of a dimension as a file gives them."""
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


def resolve_under(
    name: str, layers: Layers, over: list[Layer], problems: list[Problem]
) -> RowConfig | None:
    """A row with layers over all of its own."""
    own = [*layers.row_overrides.get(name, ()), *over]
    changed = attrs.evolve(layers, row_overrides={**layers.row_overrides, name: own})
    return resolve_row(name, changed, problems)[0]

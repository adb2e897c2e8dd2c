"""The layers of one row, merged in order: which keys of each count for the row's scheme."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from registry.contracts import Scheme
from udonx.common.words import dotted_key, format_value, unknown
from udonx.config.keys import COMMON, FILE_KEYS, ROW_KEYS
from udonx.config.merge import Layer, Merged
from udonx.config.problems import Problem


@attrs.define(kw_only=True)
class Layers:
    """The layers of row keys that a file gives, by their place in the merge order.

    Attributes:
        setting: those of the setting, parents first.
        defaults: [defaults] of the file and its parents.
        overrides: `--set` for all rows.
        rows: those of each row, by its name.
        row_overrides: `--set` for one row, by its name.
        defaults_of_kind: new defaults of components, by kind and name.
    """

    setting: list[Layer]
    defaults: list[Layer]
    overrides: list[Layer]
    rows: dict[str, list[Layer]]
    row_overrides: dict[str, list[Layer]]
    defaults_of_kind: dict[str, dict[str, dict[str, Any]]]


class RowLayers:
    """The layers of one row while they are merged, and what is wrong with the row.

    Attributes:
        name: the row's.
        merged: the row's keys so far.
        used: which keys of [defaults], of a setting and of `--set` some row has a slot for, as
            `slot_key` writes them.
        broken: keys of the row that have a problem.
    """

    def __init__(self, name: str, layers: Layers, problems: list[Problem]) -> None:
        self.name = name
        self.layers = layers
        self.problems = problems
        self.merged = Merged()
        self.used: set[str] = set()
        self.broken: set[str] = set()

    def problem(self, key: str, message: str, layer: Layer | None = None) -> None:
        """Report a problem at `key`, at the layer that set it."""
        layer = layer or self.merged.source_of(key) or self.layers.rows[self.name][-1]
        self.broken.add(key.partition(".")[0])
        # the second where `roles` made the row from another
        own = (f"rows.{self.name}", self.layers.rows[self.name][0].prefix)
        prefix = "" if layer.prefix in own else layer.prefix  # the row is named beside the key
        rows = () if prefix.endswith(".grid") else (self.name,)  # the key says whose grid it is
        self.problems.append(
            Problem(where=layer.where, rows=rows, key=dotted_key(prefix, key), message=message)
        )

    def scheme(self) -> Any:
        """The row's scheme as its layers name it: a name, a table, or None.

        It is merged first, since the other layers depend on it.
        """
        for layer in (*self.layers.defaults, *self._rows(), *self.layers.overrides, *self._set()):
            if "scheme" in layer.data:
                self.merged.add(attrs.evolve(layer, data={"scheme": layer.data["scheme"]}))
        return self.merged.data.get("scheme")

    def merge(self, name: str, scheme: Scheme) -> None:
        """Merge all layers of a row of this scheme; what a later one says counts."""
        allowed = COMMON | scheme.slots
        self.merged.add(Layer(where=f"scheme {name}", prefix="", data=dict(scheme.default_row)))
        for layer in (*self.layers.setting, *self.layers.defaults):
            self.merged.add(self._filtered(layer, allowed))
        self.merged.add(Layer(where=f"scheme {name}", prefix="", data=dict(scheme.fixed_row)))
        for layer in self._rows():
            self.merged.add(self._strict(layer, allowed, name))
        for layer in self.layers.overrides:
            self.merged.add(self._filtered(layer, allowed))
        for layer in self._set():
            self.merged.add(self._strict(layer, allowed, name))

    def refuse_unknown(self) -> None:
        """Report keys that no row may have, where it is not known which slots this one has."""
        for layer in (*self._rows(), *self._set()):
            for key in [key for key in layer.data if key not in ROW_KEYS]:
                self.problem(
                    key,
                    f"got {format_value(layer.data[key])}, but this is an {unknown(key, ROW_KEYS)}",
                    layer,
                )

    def _rows(self) -> list[Layer]:
        return self.layers.rows[self.name]

    def _set(self) -> list[Layer]:
        return self.layers.row_overrides.get(self.name, [])

    def _filtered(self, layer: Layer, allowed: frozenset[str]) -> Layer:
        """A layer of all rows, without what this row has no slot for."""
        data = _of_row(layer, allowed)
        self.used |= {slot_key(layer, key) for key in data}
        if self._changes_losses(data):
            # a default for a loss that this scheme does not have is not for this row, unless it
            # says which loss to use
            own = set(self.merged.data.get("losses", {}))
            entries = data["losses"].items()
            data["losses"] = {
                name: entry for name, entry in entries if name in own or _names_loss(entry)
            }
            self.used |= {slot_key(layer, f"losses.{name}") for name in data["losses"]}
        return attrs.evolve(layer, data=data)

    def _strict(self, layer: Layer, allowed: frozenset[str], scheme: str) -> Layer:
        """A layer of this row, in which a key without a slot is a problem."""
        for key, message in _strangers(layer, allowed, scheme):
            self.problem(key, message, layer)
        data = _of_row(layer, allowed)
        if self._changes_losses(data):
            own = set(self.merged.data.get("losses", {}))
            entries = data["losses"].items()
            stray = {
                name: entry for name, entry in entries if name not in own and _only_changes(entry)
            }
            data["losses"] = {name: entry for name, entry in entries if name not in stray}
            for name, entry in stray.items():
                what = unknown(name, own, "loss of this row")
                self.problem(
                    f"losses.{name}",
                    f"got {format_value(entry)}, but this is an {what}; a new one says which to"
                    " `use`",
                    layer,
                )
        return attrs.evolve(layer, data=data)

    def _changes_losses(self, data: dict[str, Any]) -> bool:
        """Whether a layer has a table of losses for a table of losses.

        Anything else is kept, and named as a wrong type.
        """
        return isinstance(data.get("losses"), dict) and isinstance(
            self.merged.data.get("losses", {}), dict
        )


def slot_key(layer: Layer, key: str) -> str:
    """A key of a layer, as `RowLayers.used` notes it."""
    return f"{layer.where}:{layer.prefix}:{key}"


def _of_row(layer: Layer, allowed: frozenset[str]) -> dict[str, Any]:
    """What a layer says of a row's own keys; its scheme is merged before."""
    return {key: value for key, value in layer.data.items() if key in allowed - {"scheme"}}


def _strangers(layer: Layer, allowed: frozenset[str], scheme: str) -> Iterator[tuple[str, str]]:
    """(key, sentence) of the keys of a layer that a row of this scheme may not have."""
    for key, value in layer.data.items():
        got = f"got {format_value(value)}, but"
        if key in allowed:
            continue
        if key in ROW_KEYS:
            keys = ", ".join(sorted(allowed))
            yield key, f"{got} scheme '{scheme}' has no slot for it; its keys are {keys}"
        else:
            home = " (a key of the file, not of a row)" if key in FILE_KEYS else ""
            yield key, f"{got} this is an {unknown(key, allowed)}{home}"


def _names_loss(entry: Any) -> bool:
    """Whether a loss entry says which loss it is, so that it can stand alone."""
    return isinstance(entry, str) or (isinstance(entry, dict) and "use" in entry)


def _only_changes(entry: Any) -> bool:
    """Whether a loss entry only changes or removes what is inherited."""
    return entry is False or (isinstance(entry, dict) and "use" not in entry)

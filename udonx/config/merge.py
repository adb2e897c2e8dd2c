"""Layers of tables merged into one, remembering which file each value came from.

A slot names a component: `use` and the slot's own keys always merge, the component's options only
while `use` stays the same.
"""

from __future__ import annotations

from typing import Any

import attrs

from registry.options import options_of
from udonx.config.keys import SLOT_KEYS, DataOptions, LossSlot, StartOptions, TeacherOptions

SLOTS: dict[str, frozenset[str]] = {
    key: frozenset(option.name for option in options_of(slot))
    for key, (_, slot) in SLOT_KEYS.items()
}
"""Row keys that hold one component: the slot's own keys."""

NAMED: dict[str, frozenset[str]] = {
    "losses": frozenset(field.name for field in attrs.fields(LossSlot)),
    "teachers": frozenset(field.name for field in attrs.fields(TeacherOptions)),
    "backbones": frozenset(field.name for field in attrs.fields(StartOptions)),
}
"""Keys that hold several components by name."""

DATA = frozenset(field.name for field in attrs.fields(DataOptions))
"""The own keys of [data], where `source` names the component."""

_EXCLUSIVE = {"budget": ({"steps", "epochs"},)}


@attrs.frozen(kw_only=True)
class Layer:
    """One source of row keys.

    Attributes:
        where: what a person edits to change it.
        prefix: the table inside it.
        data: the keys.
    """

    where: str
    prefix: str
    data: dict[str, Any]


@attrs.define
class Merged:
    """Merged values, and for each dotted key the layer it came from."""

    data: dict[str, Any] = attrs.field(factory=dict)
    origin: dict[str, Layer] = attrs.field(factory=dict)
    added: list[Layer] = attrs.field(factory=list)

    def source_of(self, key: str) -> Layer | None:
        """The layer that set `key`, or the nearest table around it."""
        while key:
            if key in self.origin:
                return self.origin[key]
            key = key.rpartition(".")[0]
        return None

    def where(self, key: str) -> str:
        """What a person edits to change `key`; empty where no layer has set it."""
        layer = self.source_of(key)
        return layer.where if layer else ""

    def latest(self, *keys: str) -> str:
        """Which of the keys was set last.

        Where two do not fit, that is the one that a person has just changed.
        """
        layers = [id(layer) for layer in self.added]
        return max(
            keys, key=lambda key: layers.index(id(self.origin[key])) if key in self.origin else -1
        )

    def add(self, layer: Layer) -> None:
        """Merge a layer over what is there."""
        self.added.append(layer)
        for key, value in layer.data.items():
            if key in SLOTS:
                self._slot(self.data, key, key, value, SLOTS[key], layer)
            elif key == "data" and isinstance(value, dict):
                self._data(value, layer)
            elif key in NAMED and isinstance(value, dict):
                entries = self.data.setdefault(key, {})
                # a wrong type below: keep it, validation names it
                if not isinstance(entries, dict):
                    continue
                for name, entry in value.items():
                    self._slot(entries, name, f"{key}.{name}", entry, NAMED[key], layer)
            elif (
                isinstance(value, dict)
                and isinstance(self.data.get(key, {}), dict)
                and key != "reported"
            ):
                table = dict(self.data.get(key, {}))
                for group in _EXCLUSIVE.get(key, ()):
                    if group & value.keys():
                        table = {name: item for name, item in table.items() if name not in group}
                self.data[key] = table | value
                self._mark(key, value, layer)
            else:
                self.data[key] = value
                self.origin[key] = layer

    def _data(self, value: dict[str, Any], layer: Layer) -> None:
        """Another source has other options."""
        base = self.data.get("data", {})
        before = base.get("source", DataOptions().source)
        if value.get("source", before) != before:
            base = {key: item for key, item in base.items() if key in DATA}
        self.data["data"] = base | value
        self._mark("data", value, layer)

    def _slot(
        self,
        parent: dict[str, Any],
        name: str,
        path: str,
        value: Any,
        own: frozenset[str],
        layer: Layer,
    ) -> None:
        if value is False:
            parent.pop(name, None)
            self.origin[path] = layer
            return
        if name not in parent:
            self.origin.pop(path, None)
        value = {"use": value} if isinstance(value, str) else value
        if not isinstance(value, dict):  # a wrong type: keep it, validation names it
            parent[name] = value
            self.origin[path] = layer
            return
        base = parent.get(name)
        base = dict(base) if isinstance(base, dict) else {}
        if "use" in value and value["use"] != base.get("use"):
            base = {key: item for key, item in base.items() if key in own}
        parent[name] = base | value
        self._mark(path, value, layer)

    def _mark(self, path: str, value: dict[str, Any], layer: Layer) -> None:
        self.origin.setdefault(path, layer)
        for key in value:
            self.origin[f"{path}.{key}"] = layer

"""The data of a setting: a source with its options."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from udonx.common.words import dotted_key, format_value, unknown
from udonx.config import descriptions as components
from udonx.config.keys import DataOptions
from udonx.config.merge import Layer
from udonx.config.problems import Problem
from udonx.config.settings import merged_table
from udonx.config.typed import table_options, validate

ROOT = "root"
"""The option that a source calls its folder by, which `--data` sets."""


@attrs.frozen(kw_only=True)
class DataConfig(DataOptions):
    """Where the images of an experiment come from.

    Attributes:
        options: those of the source, complete.
    """

    options: dict[str, Any] = attrs.field(factory=dict)

    @property
    def root(self) -> Path | None:
        """The folder that the images come from; None where they are generated."""
        root = self.options.get(ROOT)
        return None if root is None else Path(root)

    def to_plain(self) -> dict[str, Any]:
        """The keys of `[data]` that stand for it."""
        own = {key: value for key, value in attrs.asdict(self).items() if key != "options"}
        return {key: value for key, value in (own | self.options).items() if value is not None}


def read_data(
    layers: Iterable[Layer], folder: str | Path | None, problems: list[Problem]
) -> DataConfig:
    """The data of a setting's layers.

    Args:
        layers: the setting's.
        folder: `--data`, which lies over them.
        problems: what is wrong is added to them.
    """
    merged = merged_table(layers, "data")
    given = merged.data.get("data", {})
    own_names = {option.name for option in table_options(DataOptions)}
    own, found = validate(
        table_options(DataOptions), {key: given[key] for key in given if key in own_names}
    )
    source = given.get("source", DataOptions().source)
    names = components.registry_of("sources").names()
    if isinstance(source, str) and source not in names:
        what = unknown(source, names, "component of sources")
        found.append(("source", f"got {format_value(source)}, which is an {what}"))
    elif isinstance(source, str):
        described = components.describe("sources", source).options
        options = {key: given[key] for key in given if key not in own_names}
        if folder is not None and any(option.name == ROOT for option in described):
            options[ROOT] = str(folder)
        elif folder is not None:
            problems.append(Problem(where="--data", message=_no_folder(folder, source)))
        complete, more = validate(described, options, also=own_names)
        found += more
    for name, message in found:
        layer = merged.source_of(f"data.{name}") or Layer(where="--data", prefix="", data={})
        key = dotted_key(layer.prefix, "data", name)
        problems.append(Problem(where=layer.where, key=key, message=message))
    return DataConfig() if found else DataConfig(**own, options=complete)


def _no_folder(folder: str | Path, source: str) -> str:
    """Why `--data` cannot be used."""
    others = [
        name
        for name in components.registry_of("sources").names()
        if any(option.name == ROOT for option in components.describe("sources", name).options)
    ]
    return (
        f"got {folder}, but the data source is '{source}', which has no folder; those that have"
        f" one are {', '.join(map(repr, others))} (data.source, as in --setting uned_mini)"
    )

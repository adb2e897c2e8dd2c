"""The data of a setting."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from udonx.common.words import dotted_key
from udonx.config.keys import DataOptions
from udonx.config.merge import Layer
from udonx.config.problems import Problem
from udonx.config.settings import merged_table
from udonx.config.typed import table_options, validate


def read_data(
    layers: Iterable[Layer], folder: str | Path | None, problems: list[Problem]
) -> DataOptions:
    """The data of a setting's layers.

    Args:
        layers: the setting's.
        folder: `--data`, which lies over them.
        problems: what is wrong is added to them.
    """
    merged = merged_table(layers, "data")
    plain, found = validate(table_options(DataOptions), merged.data.get("data", {}))
    for name, message in found:
        source = merged.source_of(f"data.{name}")
        key = dotted_key(source.prefix, "data", name)
        problems.append(Problem(where=source.where, key=key, message=message))
    if not plain:
        return DataOptions()
    if folder is not None and plain["source"] != "uned":
        message = (
            f"got {folder}, but the data of this setting is '{plain['source']}', which is"
            " generated; use --setting uned_mini, or another whose data.source is 'uned'"
        )
        problems.append(Problem(where="--data", message=message))
    elif folder is not None:
        plain["root"] = str(folder)
    return DataOptions(**plain)

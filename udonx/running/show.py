"""What experiments resolve to."""

from __future__ import annotations

from typing import Any

from udonx.common.options import evolve_each
from udonx.config.selection import WHOLE, Selection
from udonx.config.show import to_diff, to_toml
from udonx.inputs.load import Files, load, one_or_all


def show(
    files: Files, selection: Selection = WHOLE, *, diff: bool = False, **changes: Any
) -> str | list[str]:
    """What experiments resolve to, as TOML that is itself a runnable file.

    Args:
        files: experiment files or folders of them, or one.
        selection: what of them is shown.
        diff: only what differs: the first row from the defaults, the others from it.
        changes: fields of `selection`, by name.

    Returns:
        The text of one file, a list for several.

    Raises:
        ConfigError: every problem of every file.
    """
    (selection,) = evolve_each(changes, selection)
    to_text = to_diff if diff else to_toml
    return one_or_all(files, [to_text(experiment) for experiment in load(files, selection)])

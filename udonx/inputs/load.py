"""Loads experiments, and looks whether the data and start weights that they name are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from udonx.config.experiment import Experiment, load_experiments
from udonx.config.selection import Selection
from udonx.config.toml_files import shipped
from udonx.inputs.sources import source_problems

Files = str | Path | Sequence[str | Path]
"""An experiment file or a folder of them, or several; a shipped file by its name."""

T = TypeVar("T")


def load(files: Files, selection: Selection) -> list[Experiment]:
    """The experiments of files.

    Raises:
        ConfigError: the problems of all files, with data and start weights that are missing.
    """
    return load_experiments(listed(files), selection, sources=source_problems)


def listed(files: Files) -> list[str | Path]:
    """Several files, or one, as a list.

    Example:
        >>> listed("a.toml"), listed(["a.toml", "b.toml"])
        (['a.toml'], ['a.toml', 'b.toml'])
    """
    return [files] if isinstance(files, str | Path) else list(files)


def one_or_all(files: Files, results: list[T]) -> T | list[T]:
    """The result of one file; of several, or of a folder, the list."""
    single = isinstance(files, str | Path) and not shipped(files).is_dir()
    return results[0] if single else results

"""From parsed arguments to experiments and options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from udonx.config.experiment import Experiment, load_experiments
from udonx.inputs.sources import source_problems

__all__ = ["load_all", "options"]

if TYPE_CHECKING:
    from udonx.running.queue import Options


# options that not every command has
_OF_SOME = ("device", "fresh", "fail_fast", "checkpoint_minutes", "workers")


def load_all(parsed: argparse.Namespace, *, check_sources: bool = True) -> list[Experiment]:
    """The experiments that the arguments name, with data and weights looked up if `check_sources`.
    Raises ConfigError with the problems of all files.
    """
    return load_experiments(
        parsed.files,
        setting=parsed.setting,
        data=parsed.data,
        weights=parsed.weights,
        sources=source_problems if check_sources else None,
        overrides=parsed.overrides,
        rows=parsed.rows,
        seeds=parsed.seeds,
        plugins=parsed.plugins,
        allow_plugins=not parsed.no_plugins,
    )


def options(parsed: argparse.Namespace) -> Options:
    """The options of a run."""
    from udonx.running.queue import Options

    return Options(
        weights=Path(parsed.weights) if parsed.weights else None,
        results=Path(parsed.results),
        **{name: getattr(parsed, name) for name in _OF_SOME if hasattr(parsed, name)},
    )

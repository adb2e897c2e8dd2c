"""From parsed arguments to experiments and options."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from udonx.config.experiment import Experiment, load_experiment
from udonx.config.problems import ConfigError, Problem

if TYPE_CHECKING:
    from udonx.runner import Options


def say(line: str) -> None:
    """Progress goes to stderr, so that stdout holds the result alone."""
    print(line, file=sys.stderr, flush=True)


def load_all(parsed: argparse.Namespace) -> list[Experiment]:
    """The experiments that the arguments name, with data and weights looked up. Raises ConfigError with the problems of all files."""
    experiments, problems = [], []
    for path in expand(parsed.files):
        try:
            experiments.append(
                load_experiment(
                    path,
                    setting=parsed.setting,
                    data=parsed.data,
                    weights=parsed.weights,
                    check_sources=True,
                    overrides=parsed.overrides,
                    rows=parsed.rows,
                    seeds=parsed.seeds,
                    plugins=parsed.plugins,
                    allow_plugins=not parsed.no_plugins,
                    say=say,
                )
            )
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return experiments


def expand(files: list[str]) -> list[Path]:
    """Files, with a folder standing for the experiment files in it. Raises ConfigError for a folder without any."""
    found = []
    for name in files:
        inside = sorted(Path(name).glob("*.toml")) if Path(name).is_dir() else [Path(name)]
        if not inside:
            raise ConfigError([Problem(where=name, message="this folder holds no experiment file (*.toml)")])
        found += inside
    return found


def options(parsed: argparse.Namespace) -> Options:
    """The options of a run."""
    from udonx.runner import Options

    return Options(
        weights=Path(parsed.weights) if parsed.weights else None,
        results=Path(parsed.results),
        device=parsed.device,
        fresh=parsed.fresh,
        workers=getattr(parsed, "workers", None),
    )

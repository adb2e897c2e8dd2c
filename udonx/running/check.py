"""Finds everything that is wrong with experiments without running them, and without torch."""

from __future__ import annotations

import logging
from typing import Any

from udonx.common.files import folder_problem
from udonx.common.options import evolve_each
from udonx.config.experiment import Experiment
from udonx.config.problems import ConfigError, Problem
from udonx.config.selection import WHOLE, Selection
from udonx.inputs.load import Files, load
from udonx.inputs.sources import from_hub, observer_problem, writer_problem
from udonx.running.options import DEFAULTS, RunOptions

logger = logging.getLogger(__name__)


def check(
    files: Files, selection: Selection = WHOLE, options: RunOptions = DEFAULTS, **changes: Any
) -> list[Experiment]:
    """Find everything that is wrong with experiments, all at once; runs nothing.

    Rows that the setting cannot have, and weights that a run takes from the hub, are logged.

    Args:
        files: experiment files or folders of them, or one.
        selection: what of them is looked at.
        options: how they would be run.
        changes: fields of `selection` and `options`, by name.

    Returns:
        The experiments, in which no problem was found.

    Raises:
        ConfigError: every problem of every file.

    Example:
        udonx.check("experiments", setting="smoke")
    """
    selection, options = evolve_each(changes, selection, options)
    experiments = load(files, selection)
    problems = [
        Problem(where=str(experiment.path), key="results.observers", message=message)
        for experiment in experiments
        for message in filter(None, map(observer_problem, experiment.observers))
    ]
    problems += [
        Problem(where=str(experiment.path), key="results.writers", message=message)
        for experiment in experiments
        for message in filter(None, map(writer_problem, experiment.writers))
    ]
    for experiment in experiments:
        problems += experiment.tuning.problems() if experiment.tuning else []
    if message := folder_problem(options.results):
        problems.append(Problem(where="--results", message=message))
    if problems:
        raise ConfigError(problems)
    for experiment in experiments:
        for line in [*experiment.skipped(), *from_hub(experiment, selection.weights)]:
            logger.info(f"{experiment.path}: {line}")
    return experiments

"""`udonx check`: everything that is wrong, at once, without importing torch."""

from __future__ import annotations

import argparse
import logging

from udonx.cli.common import load_all
from udonx.config.problems import ConfigError, Problem
from udonx.inputs.sources import from_hub, observer_problem

logger = logging.getLogger(__name__)


def main(parsed: argparse.Namespace) -> int:
    """Print what is there. Raises ConfigError with all problems of all files."""
    experiments = load_all(parsed)
    problems = [
        Problem(where=str(experiment.path), key="results.observers", message=message)
        for experiment in experiments
        for message in filter(None, map(observer_problem, experiment.observers))
    ]
    if problems:
        raise ConfigError(problems)
    for experiment in experiments:
        for line in [*experiment.skipped(), *from_hub(experiment, parsed.weights)]:
            logger.info(f"{experiment.path}: {line}")
        count = sum(not row.skipped for row in experiment.wanted_rows())
        print(
            f"{experiment.path}: {count} row{'s' * (count != 1)} on setting '{experiment.setting}':"
            " no problem found"
        )
    return 0

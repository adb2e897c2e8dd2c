"""The plan of an experiment, with all that it needs opened for it alone."""

from __future__ import annotations

from udonx.config.experiment import Experiment
from udonx.inputs.open import open_benchmark, resolve_weights
from udonx.planning.plan import Plan, make_plan


def load_plan(experiment: Experiment, *, fetch: bool = True) -> Plan:
    """Open the benchmark of an experiment, find its start weights, plan.

    Args:
        experiment: what to plan.
        fetch: whether weights may come from the hub; else only its cache counts.

    Raises:
        ConfigError: start weights are missing.
        DataError: the data cannot be read.
    """
    benchmark = open_benchmark(experiment)
    return make_plan(experiment, benchmark, resolve_weights(experiment, fetch=fetch))

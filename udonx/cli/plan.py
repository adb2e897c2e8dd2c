"""`udonx plan`: the stages of experiments, which are shared and which are already there, and how
long the rest takes, before it runs.
"""

from __future__ import annotations

import argparse
import shutil

from udonx.cli.common import load_all, options


def main(parsed: argparse.Namespace) -> int:
    """Print one line per stage, rows beside it, and the sum of what is left to train."""
    experiments = load_all(parsed)
    from udonx.config.problems import ConfigError, Problem
    from udonx.engine.device import choose, describe
    from udonx.forecast.costs import Timings
    from udonx.forecast.listing import describe_stages
    from udonx.forecast.remaining import workload
    from udonx.running.queue import load_plan
    from udonx.store.results import Results

    chosen = options(parsed)
    try:
        device = choose(chosen.device)
    except ValueError as error:
        raise ConfigError([Problem(where="command", message=str(error))]) from None
    results = Results(chosen.results)
    todo = workload(
        [load_plan(experiment, chosen) for experiment in experiments],
        results,
        fresh=chosen.fresh,
    )
    if parsed.measure:
        from udonx.forecast.probe import measure

        measure(todo, results, device)
    print(
        describe_stages(
            todo, Timings(describe(device)), shutil.get_terminal_size((120, 24)).columns
        )
    )
    return 0

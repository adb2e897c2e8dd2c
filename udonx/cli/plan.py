"""`udonx plan`: the stages of experiments, which are shared and which are already there, before anything runs."""

from __future__ import annotations

import argparse

from udonx.cli.common import load_all, options, say


def main(parsed: argparse.Namespace) -> int:
    """Print one line per stage, rows beside it, and the sum of what is left to train."""
    experiments = load_all(parsed)
    from udonx.results.store import Results
    from udonx.runner import load_plan
    from udonx.stage_report import describe_stages

    chosen = options(parsed)
    plans = [load_plan(experiment, chosen, say) for experiment in experiments]
    print(describe_stages(plans, Results(chosen.results), fresh=chosen.fresh))
    return 0

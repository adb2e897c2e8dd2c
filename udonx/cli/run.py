"""`udonx run`: see `udonx.runner.run_experiments`."""

from __future__ import annotations

import argparse

from udonx.cli.common import load_all, options, say


def main(parsed: argparse.Namespace) -> int:
    """Run, then print each table."""
    experiments = load_all(parsed)
    from udonx.runner import run_experiments

    for table in run_experiments(experiments, options(parsed), say):
        print(f"\n{table.to_text()}")
    return 0

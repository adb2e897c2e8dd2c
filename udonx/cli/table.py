"""`udonx table`: the table again from what is stored, running nothing."""

from __future__ import annotations

import argparse

from udonx.cli.common import load_all, options, say


def main(parsed: argparse.Namespace) -> int:
    """Print each stored table."""
    experiments = load_all(parsed)
    from udonx.runner import stored_table

    for experiment in experiments:
        print(stored_table(experiment, options(parsed), say, every_seed=parsed.seeds is None).to_text())
    return 0

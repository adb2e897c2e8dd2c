"""`udonx check`: everything that is wrong, at once, without importing torch."""

from __future__ import annotations

import argparse

from udonx.cli.common import load_all, say
from udonx.config.sources import from_hub


def main(parsed: argparse.Namespace) -> int:
    """Print what is there; load_all raises ConfigError with all problems of all files."""
    for experiment in load_all(parsed):
        for line in [*experiment.skipped(), *from_hub(experiment, parsed.weights)]:
            say(f"{experiment.path}: {line}")
        count = sum(not row.skipped for row in experiment.wanted_rows())
        print(f"{experiment.path}: {count} row{'s' * (count != 1)} on setting '{experiment.setting}': no problem found")
    return 0

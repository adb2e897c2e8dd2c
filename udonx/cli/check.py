"""`udonx check`: everything that is wrong, at once, without importing torch."""

from __future__ import annotations

import argparse

from udonx.cli.common import load_all, say


def main(parsed: argparse.Namespace) -> int:
    """Print what is there; load_all raises ConfigError with all problems of all files."""
    for experiment in load_all(parsed):
        rows = []
        for row in experiment.wanted_rows():
            if row.skipped:
                say(f"{experiment.path}: {row.label}: {row.skipped}")
            else:
                rows.append(row)
        print(f"{experiment.path}: {len(rows)} row{'s' * (len(rows) != 1)} on setting '{experiment.setting}': no problem found")
    return 0

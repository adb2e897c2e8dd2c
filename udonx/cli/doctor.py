"""`udonx doctor`: see `udonx.running.doctor.examine`."""

from __future__ import annotations

import argparse

from udonx.running.doctor import examine


def main(parsed: argparse.Namespace) -> int:
    """Print one line per finding; exit 1 where something keeps udonx from running."""
    good = True
    for finding in examine(
        data=parsed.data, weights=parsed.weights, results=parsed.results, verify=parsed.verify
    ):
        print(finding, flush=True)
        good &= finding.good
    return int(not good)

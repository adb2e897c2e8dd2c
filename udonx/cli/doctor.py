"""`udonx doctor`: see `udonx.doctor.examine`."""

from __future__ import annotations

import argparse

from udonx.doctor import examine


def main(parsed: argparse.Namespace) -> int:
    """Print one line per finding; exit 1 where something keeps udonx from running."""
    findings = list(examine(data=parsed.data, weights=parsed.weights, results=parsed.results))
    for finding in findings:
        print(finding)
    return int(any(not finding.good for finding in findings))

"""`udonx show`: what an experiment resolves to, itself a runnable file; with --diff what its rows
change.
"""

from __future__ import annotations

import argparse

from udonx.cli.common import load_all
from udonx.config.show import to_diff, to_toml


def main(parsed: argparse.Namespace) -> int:
    """Print each experiment in full, or what its rows change."""
    for experiment in load_all(parsed):
        print(to_diff(experiment) if parsed.diff else to_toml(experiment))
    return 0

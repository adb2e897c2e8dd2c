"""`udonx show`: what an experiment resolves to, itself a runnable file."""

from __future__ import annotations

import argparse

from udonx.cli.common import load_all
from udonx.config.show import to_toml


def main(parsed: argparse.Namespace) -> int:
    """Print each experiment in full."""
    for experiment in load_all(parsed):
        print(to_toml(experiment))
    return 0

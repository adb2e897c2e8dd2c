"""`udonx schema`: the JSON schema of an experiment file."""

from __future__ import annotations

import argparse
import json

from udonx.config.schema import experiment_schema


def main(parsed: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(experiment_schema(), indent=1))
    return 0

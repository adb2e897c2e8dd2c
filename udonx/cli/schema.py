"""`udonx schema`: the JSON schema of an experiment file, or of a setting's."""

from __future__ import annotations

import argparse
import json

from udonx.config.schema import experiment_schema, setting_schema


def main(parsed: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(setting_schema() if parsed.of == "setting" else experiment_schema(), indent=1))
    return 0

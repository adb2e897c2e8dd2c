"""`udonx schema`: the JSON schema of an experiment file, or of a setting's."""

from __future__ import annotations

import argparse
import json

from udonx.config.plugins import load_plugins
from udonx.config.schema import experiment_schema, setting_schema


def main(parsed: argparse.Namespace) -> int:
    """Print the schema, with the components of plug-ins where they are given."""
    load_plugins(parsed.plugins, None, where="--plugin")
    print(json.dumps(setting_schema() if parsed.of == "setting" else experiment_schema(), indent=1))
    return 0

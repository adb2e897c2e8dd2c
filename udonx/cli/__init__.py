"""The command line: each command parses its options and calls one plain function. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import importlib
import sys

from udonx.cli.options import COMMANDS, declare


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 failed on the way, 2 bad input (nothing was started), 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="udonx",
        description="A declarative experiment registry for universal image embeddings.",
        epilog="Start with: udonx run experiments/table3_ablation.toml",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    declare(parser, COMMANDS)
    parsed = parser.parse_args(arguments)
    if parsed.version:
        from udonx import __version__

        print(f"udonx {__version__}")
        return 0
    if parsed.command is None:
        parser.print_help()
        return 0
    return _guarded(parsed)


def _guarded(parsed: argparse.Namespace) -> int:
    """Errors that are meant for people end in their one sentence; anything else is a fault of ours and keeps its traceback."""
    module = importlib.import_module(f"udonx.cli.{parsed.command.replace(' ', '.')}")
    try:
        return module.main(parsed) or 0
    except KeyboardInterrupt:
        print("\nstopped; the same command continues from the last checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except (ValueError, RuntimeError, OSError) as error:
        from registry.catalog import RegistryError
        from udonx.config.problems import ConfigError
        from udonx.data.errors import DataError
        from udonx.start_weights import WeightsError

        if isinstance(error, ConfigError | RegistryError):
            print(f"udonx {parsed.command}: {error}", file=sys.stderr)
            return 2
        if isinstance(error, DataError | WeightsError) or getattr(error, "for_people", False):
            print(f"udonx {parsed.command}: {error}", file=sys.stderr)
            return 1
        if isinstance(error, OSError) and error.errno in (13, 28, 30):
            kept = "what was written before is whole, the same command continues"
            print(f"udonx {parsed.command}: {error.strerror}: {error.filename}; {kept}", file=sys.stderr)
            return 1
        raise

"""The command line: each command parses its options and calls one plain function. Nothing heavy is
imported before it is needed.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys

from udonx.cli.options import COMMANDS, declare
from udonx.common.console import logging_to_stderr


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 failed on the way, 2 bad input (nothing
    was started), 130 and 143 stopped by SIGINT and SIGTERM.
    """
    parser = argparse.ArgumentParser(
        prog="udonx",
        description="A declarative experiment registry for universal image embeddings.",
        epilog="Start with: udonx run experiments/table3_ablation.toml",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    declare(parser, COMMANDS)
    for stream in (sys.stdout, sys.stderr):
        # a title that the terminal cannot show must not cost a run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
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
    """Errors that people can do something about end in one sentence; anything else is a fault of
    ours and keeps its traceback.
    """
    try:
        module = importlib.import_module(f"udonx.cli.{parsed.command.replace(' ', '.')}")
        with logging_to_stderr():
            return module.main(parsed) or 0
    except KeyboardInterrupt as error:  # of udonx/common/interrupts.py, or Python's own
        print(
            f"\n{str(error) or 'stopped; the same command continues from the last checkpoint'}",
            file=sys.stderr,
        )
        return getattr(error, "code", 130)
    except BrokenPipeError:
        # or Python would complain while it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from udonx.common.errors import exit_code, sentence_of

        if (sentence := sentence_of(error)) is None:
            raise
        print(f"udonx {parsed.command}: {sentence}", file=sys.stderr)
        return exit_code(error)

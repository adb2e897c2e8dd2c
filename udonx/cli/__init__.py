"""The command line.

Each command parses its options, calls one public function and prints what it returns. Nothing heavy
is imported before it is needed.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from udonx.common.console import logging_to_stderr
from udonx.common.interrupts import STOPPED

if TYPE_CHECKING:
    from cyclopts import App

COMMANDS = {
    "run": "Run experiments: train what is missing, evaluate, show the table.",
    "check": "Find everything that is wrong with experiments, all at once; runs nothing.",
    "show": "Print what experiments resolve to, itself a runnable file.",
    "plan": "Show the stages: which are shared, which are already trained, steps, images, and how"
    " long the rest takes.",
    "tune": "Try values of options on the validation splits, as many trials for each row.",
    "table": "Show the table again from what is stored; runs nothing.",
    "report": "Write static pages of all stored tables: differences, curves, costs, runs.",
    "evaluate": "Evaluate models on any data, other domains than their own included.",
    "embed": "Embed images into a folder of vectors; goes on where it was stopped.",
    "index": "Make an index of vectors or images, or add to it and remove from it.",
    "search": "Find the images of an index that are nearest to some images.",
    "duplicates": "List images of an index that are nearly the same.",
    "components": "List what is registered, with options, types and defaults.",
    "keys": "List the keys of experiment files and settings, with types, defaults and what they are"
    " for.",
    "schema": "Print the JSON schema of an experiment file, for editors.",
    "doctor": "Look at this machine: versions, GPU, disk, data.",
    "serve": "Serve a page and an HTTP API that search an index by picture, on this machine.",
    "export": "Write a trained stage for timm, ONNX or torch.export, checked, with a model card.",
}
"""Name of a command, and what it does: the function of that name in the module of that name."""

_DATA_COMMANDS = {
    "split": "Turn class folders DIR/<domain>/<class>/<image> into UnED's layout, no class in two"
    " splits.",
}

_RUNS_COMMANDS = {
    "list": "List the runs of a results folder; what `udonx runs` does.",
    "show": "Show everything about one run.",
    "diff": "Show how two runs differ: configuration, data, versions, figures.",
    "rm": "Remove runs, with the stages that no table and no other run needs.",
    "gc": "List what no table needs, with sizes; removes it with --yes.",
    "sync": "Copy runs to databases (MongoDB, SQL) that lack them, for tools that read Sacred's.",
}


def _make_app() -> App:
    from cyclopts import App, Parameter  # takes a while, and Ctrl-C may come meanwhile

    # --plugin a --plugin b: each takes one value, and there is no --no-plugin or --empty-plugin
    defaults = Parameter(negative=(), show_default=False)
    app = App(
        name="udonx",
        help="A declarative experiment registry for universal image embeddings.\n\n"
        "Start with: udonx run table3_ablation",
        version=_version,
        help_format="plaintext",
        default_parameter=defaults,
        suppress_keyboard_interrupt=False,
    )
    data = App(name="data", help="Prepare images of your own.", default_parameter=defaults)
    runs = App(
        name="runs",
        help="List what was run (udonx runs [--state failed ...]), show it, remove it.",
        default_parameter=defaults,
    )
    groups = (
        (app, COMMANDS, "cli"),
        (data, _DATA_COMMANDS, "cli.data"),
        (runs, _RUNS_COMMANDS, "cli.runs"),
    )
    for group, commands, package in groups:
        for name, summary in commands.items():
            group.command(f"udonx.{package}.{name}:{name}", name=name, help=summary)
    app.command(data)
    app.command(runs)
    app.register_install_completion_command()
    return app


def _version() -> str:
    from udonx import __version__

    return f"udonx {__version__}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Errors that people can do something about end in one sentence; anything else is a fault of ours
    and keeps its traceback.

    Args:
        arguments: default: those of the process.

    Returns:
        The exit code: 0 done, 1 failed on the way, 2 bad input (nothing was started), 130 and 143
        stopped by SIGINT and SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        # a title that the terminal cannot show must not cost a run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    tokens = _with_list(list(sys.argv[1:] if arguments is None else arguments))
    try:
        with logging_to_stderr():
            app = _make_app()
            return app(tokens, exit_on_error=False, print_error=False, result_action=_exit_code)
    except KeyboardInterrupt as error:  # of udonx/common/interrupts.py, or Python's own
        _print_error(f"\n{str(error) or STOPPED}")
        return getattr(error, "code", 130)
    except BrokenPipeError:
        # or Python would complain while it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from cyclopts import CycloptsError

        from udonx.common.errors import REFUSED, exit_code, sentence_of

        command = _command(tokens)
        if isinstance(error, CycloptsError):
            _print_error(f"{command}: {error}")
            return REFUSED
        if (sentence := sentence_of(error)) is None:
            raise
        _print_error(f"{command}: {sentence}")
        return exit_code(error)


def _with_list(tokens: list[str]) -> list[str]:
    """A command line in which `udonx runs` without a command of its own lists the runs.

    >>> _with_list(["runs", "--json"]), _with_list(["runs", "gc"]), _with_list(["runs", "--help"])
    (['runs', 'list', '--json'], ['runs', 'gc'], ['runs', '--help'])
    """
    lists = tokens[:1] == ["runs"] and (len(tokens) == 1 or tokens[1].startswith("-"))
    if not lists or tokens[1:] in (["--help"], ["-h"]):
        return tokens
    return ["runs", "list", *tokens[1:]]


def _command(tokens: Sequence[str]) -> str:
    """The words of a command line that name its command.

    >>> _command(["data", "split", "photos"]), _command(["rnu"])
    ('udonx data split', 'udonx')
    """
    groups = {"data": _DATA_COMMANDS, "runs": _RUNS_COMMANDS}
    words, known = ["udonx"], {*COMMANDS, *groups}
    for word in tokens[:2]:
        if word not in known:
            break
        words.append(word)
        known = set(groups.get(word, ()))
    return " ".join(words)


def _exit_code(result: object) -> int:
    """What a command returns: an exit code, or nothing where all is well."""
    return result if isinstance(result, int) else 0


def _print_error(text: str) -> None:
    print(text, file=sys.stderr)

"""What each command takes. Imported by `udonx --help`, so it imports nothing but argparse."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import TypeAlias

Commands: TypeAlias = dict[str, tuple[str, "Callable[[argparse.ArgumentParser], None] | Commands"]]
"""Name -> (what it does, the function that declares its options; or, for a command such as `data`,
the commands below it).
"""


def declare(parser: argparse.ArgumentParser, commands: Commands, above: str = "") -> None:
    """Give a parser its commands.

    What is parsed holds the command's words in `command`, and they name its file: "data split" is
    `udonx/cli/data/split.py`.

    >>> parser = argparse.ArgumentParser()
    >>> declare(parser, COMMANDS)
    >>> parser.parse_args(["data", "split", "photos", "--out", "split"]).command
    'data split'
    """
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=bool(above))
    for name, (summary, below) in commands.items():
        command = subparsers.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + "."
        )
        words = f"{above} {name}".strip()
        if isinstance(below, dict):
            declare(command, below, words)
        else:
            below(command)
            command.set_defaults(command=words)


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, allowed are whole numbers such as 0,1,2"
        ) from None


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, allowed is a whole number from 1 on")
    return int(text)


def _minutes(text: str) -> float:
    try:
        if 0 <= (minutes := float(text)) < float("inf"):
            return minutes
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"got {text!r}, allowed is a number of minutes from 0 on, such as 5 or 0.5"
    )


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"got {text!r}, allowed are cpu, cuda and cuda:N")
    return text


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, allowed are three numbers such as 0.6,0.2,0.2"
        ) from None


def _experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="experiment files (TOML)")
    parser.add_argument(
        "--setting",
        metavar="NAME",
        help="data, backbone and budget: demo, smoke, uned_mini, uned-in21k-b16, or your own",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="a folder in UnED's layout, for settings that need one"
    )
    parser.add_argument(
        "--weights",
        metavar="DIR",
        help="where start weights are looked up first (folders in timm's layout)",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="change any key that `udonx show` prints",
    )
    parser.add_argument(
        "--row",
        dest="rows",
        action="append",
        default=[],
        metavar="NAME",
        help="only this row (may be repeated)",
    )
    parser.add_argument(
        "--seeds", type=_seeds, metavar="0,1,2", help="seeds, instead of the file's"
    )
    parser.add_argument(
        "--results",
        default="results",
        metavar="DIR",
        help="where everything is kept (default: results)",
    )
    parser.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        default=[],
        metavar="P",
        help="a module or .py file to import first",
    )
    parser.add_argument(
        "--no-plugins", action="store_true", help="refuse plug-ins, whoever lists them"
    )


def _check(parser: argparse.ArgumentParser) -> None:
    _experiment(parser)
    parser.add_argument(
        "--device",
        type=_device,
        metavar="cpu|cuda|cuda:N",
        help="default: the GPU where there is one",
    )


def _fresh(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fresh", action="store_true", help="train the stages of this call again")


def _run(parser: argparse.ArgumentParser) -> None:
    _check(parser)
    _fresh(parser)
    threads = "threads that load images (default: the cores, at most 8, 16 with a GPU)"
    parser.add_argument(
        "--fail-fast",
        action="store_true",
        help="end at the first row that fails (default: the others go on)",
    )
    parser.add_argument(
        "--checkpoint-minutes",
        type=_minutes,
        default=5.0,
        metavar="N",
        help=(
            "what a stage that is killed loses at most (default: 5); Ctrl-C and SIGTERM write a"
            " checkpoint first"
        ),
    )
    parser.add_argument("--workers", type=_positive, metavar="N", help=threads)


def _show(parser: argparse.ArgumentParser) -> None:
    _experiment(parser)
    parser.add_argument(
        "--diff",
        action="store_true",
        help="only what differs: the first row from the defaults, the others from it",
    )


def _plan(parser: argparse.ArgumentParser) -> None:
    _check(parser)
    _fresh(parser)
    parser.add_argument(
        "--measure",
        action="store_true",
        help="time a few steps of whatever this machine has not measured yet",
    )


def _components(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "kind",
        nargs="?",
        metavar="KIND",
        help="backbones, heads, losses, samplers, schemes or metrics",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="one component of that kind")
    parser.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        default=[],
        metavar="P",
        help="a module or .py file to import first",
    )


def _keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        metavar="TABLE",
        help="one table: file, row, setting, optimiser, budget, ... (default: all)",
    )
    parser.add_argument(
        "--markdown",
        action="store_true",
        help="print the whole reference, components included, as a page (docs/keys.md)",
    )


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help="a folder in UnED's layout to look at")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="decode every image of the data folder, and name those that cannot be",
    )
    parser.add_argument("--weights", metavar="DIR", help="a folder of start weights to look at")
    parser.add_argument(
        "--results", default="results", metavar="DIR", help="the results folder to look at"
    )


def _schema(parser: argparse.ArgumentParser) -> None:
    kinds = ["experiment", "setting"]
    parser.add_argument(
        "of",
        nargs="?",
        metavar="KIND",
        choices=kinds,
        default="experiment",
        help="experiment (default) or setting",
    )
    parser.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        default=[],
        metavar="P",
        help="a module or .py file to import first",
    )


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", metavar="STAGE_FOLDER", help="a folder of results/stages")
    parser.add_argument(
        "out",
        metavar="DIR",
        help=(
            "the folder to write: backbone in timm's layout, head, and embedding.py that uses them"
        ),
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "float16", "bfloat16"],
        default="float32",
        help="precision of the backbone's file",
    )
    parser.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        default=[],
        metavar="P",
        help="a module or .py file to import first",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in DIR")


def _data_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="DIR", help="the class folders: DIR/<domain>/<class>/<image>"
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR2",
        help="the folder to make: images/ (links to DIR) and info_files/",
    )
    parser.add_argument(
        "--shares",
        type=_shares,
        default=[0.6, 0.2, 0.2],
        metavar="0.6,0.2,0.2",
        help=(
            "shares of a domain's classes for train, val and test (default: 0.6,0.2,0.2); val may"
            " be 0"
        ),
    )
    parser.add_argument(
        "--min-images",
        type=int,
        default=2,
        metavar="N",
        help="leave out classes with fewer images (default: 2)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="which classes are drawn for which split (default: 0)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="decode every image, and leave out those that are damaged anywhere",
    )


COMMANDS: Commands = {
    "run": ("run experiments: train what is missing, evaluate, show the table", _run),
    "check": ("find everything that is wrong with experiments, all at once; runs nothing", _check),
    "show": ("print what experiments resolve to, itself a runnable file", _show),
    "plan": (
        (
            "show the stages: which are shared, which are already trained, steps, images, and how"
            " long the rest takes"
        ),
        _plan,
    ),
    "table": ("show the table again from what is stored; runs nothing", _experiment),
    "components": ("list what is registered, with options, types and defaults", _components),
    "keys": (
        (
            "list the keys of experiment files and settings, with types, defaults and what they"
            " are for"
        ),
        _keys,
    ),
    "schema": ("print the JSON schema of an experiment file, for editors", _schema),
    "data": (
        "prepare images of your own",
        {
            "split": (
                (
                    "turn class folders DIR/<domain>/<class>/<image> into UnED's layout, no class"
                    " in two splits"
                ),
                _data_split,
            )
        },
    ),
    "doctor": ("look at this machine: versions, GPU, disk, data", _doctor),
    "export": ("write a trained stage as a folder for timm, with its head", _export),
}

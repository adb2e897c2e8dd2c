"""What a Sacred run of the run record says, read from its folder without Sacred."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import attrs

from udonx.common.files import DamagedFileError, read_bytes
from udonx.common.words import printable


@attrs.frozen(kw_only=True)
class SacredRun:
    """A Sacred run.

    Attributes:
        id: its number, a folder's name.
        status: `RUNNING`, `COMPLETED`, `FAILED` or `INTERRUPTED`; Sacred has more.
        config: what the run was made with: resolved row, data, versions, command.
        result: the figures of each branch; empty where it did not complete.
        failure: the last line of its traceback; empty where it did not fail.
        host: the machine, as Sacred describes it.
        started: when, in UTC; empty where it is not known.
        ended: when, in UTC; empty where it has not ended, or was killed.
    """

    id: str
    status: str
    config: dict[str, Any]
    result: dict[str, Any] = attrs.field(factory=dict)
    failure: str = ""
    host: dict[str, Any] = attrs.field(factory=dict)
    started: str = ""
    ended: str = ""

    @property
    def command(self) -> str:
        """The command that made it, as one would type it; empty where it is not known."""
        return short_command(str(self.config.get("command") or ""))


def read_sacred(folder: Path) -> SacredRun | None:
    """The Sacred run of a folder; None where it is not there or cannot be read."""
    run, config = _read(folder / "run.json"), _read(folder / "config.json")
    if run is None or config is None:
        return None
    return SacredRun(
        id=folder.name,
        status=str(run.get("status") or ""),
        config=config,
        result=_table(run.get("result")),
        failure=_failure(run.get("fail_trace")),
        host=_table(run.get("host")),
        started=str(run.get("start_time") or ""),
        ended=str(run.get("stop_time") or ""),
    )


def short_command(command: str) -> str:
    """A command line as one would type it: `udonx` in place of the interpreter and the script.

    >>> short_command("/home/me/.venv/bin/python /home/me/.venv/bin/udonx run a.toml")
    'udonx run a.toml'
    >>> short_command("python -m udonx.cli run 'a b.toml'"), short_command("python sweep.py")
    ("udonx run 'a b.toml'", 'python sweep.py')
    """
    try:
        words = shlex.split(command)
    except ValueError:  # a quote that is not closed
        return printable(command)
    if words[1:3] == ["-m", "udonx.cli"]:
        return printable(shlex.join(["udonx", *words[3:]]))
    if len(words) > 1 and Path(words[1]).name == "udonx":
        return printable(shlex.join(["udonx", *words[2:]]))
    return printable(command)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(read_bytes(file))
    except (OSError, DamagedFileError, ValueError, RecursionError):
        return None  # of a run that was killed, or was copied without its record
    return content if isinstance(content, dict) else None


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _failure(trace: Any) -> str:
    """The last line of a traceback without the name of the exception's module."""
    lines = [line for part in trace or () for line in str(part).splitlines() if line.strip()]
    if not lines:
        return ""
    name, colon, sentence = lines[-1].strip().partition(": ")
    return printable(f"{name.rpartition('.')[2]}{colon}{sentence}")

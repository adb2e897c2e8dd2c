"""runs.jsonl: a line for each row and seed that was started. Needs no torch."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import cattrs

from udonx.common.files import read_bytes, write_atomic
from udonx.common.json_files import append_json_line, read_json_lines

_converter = cattrs.Converter(forbid_extra_keys=True)


def _check_names(_: object, field: attrs.Attribute, value: object) -> None:
    """Refuse what is no name of one folder: `udonx runs rm` removes these."""
    for name in value if isinstance(value, tuple) else (value,):
        if name is not None and not re.fullmatch(r"[\w-]+", str(name)):
            raise ValueError(f"{field.name}: {name!r} is no name of a folder")


TRIALS = ".tune"
"""How the file of a run is called that is a trial of `udonx tune`: FILE.tune."""


@attrs.frozen(kw_only=True)
class Run:
    """A line of runs.jsonl: a (row, seed) of a table that was started.

    `resumes` is the Sacred run that it goes on from.
    """

    file: str
    setting: str
    row: str
    seed: int | None
    stages: tuple[str, ...] = attrs.field(validator=_check_names)
    sacred_id: str | None = attrs.field(validator=_check_names)
    resumes: str | None
    time: str = ""

    @property
    def is_trial(self) -> bool:
        """Whether it is a trial of `udonx tune`, which is no row of its file's table."""
        return self.file.endswith(TRIALS)


def read_runs(path: Path) -> tuple[list[Run], int]:
    """The lines of a runs.jsonl, and how many are damaged.

    Raises:
        DamagedFileError: it is no file.
    """
    entries, damaged = read_json_lines(path)
    runs = [run for entry in entries if (run := _run(entry)) is not None]
    return runs, len(damaged) + len(entries) - len(runs)


def append_run(path: Path, run: Run) -> None:
    """Add a line: a (row, seed) that starts now."""
    entry = {**attrs.asdict(run), "time": time.strftime("%Y-%m-%dT%H:%M:%S")}
    with _locked(path):
        append_json_line(path, entry)


def rewrite_runs(path: Path, keep: Callable[[Run], bool]) -> None:
    """Leave out lines, while no other process adds one. Damaged ones stay as they are."""
    with _locked(path):
        lines = read_bytes(path).split(b"\n")
        write_atomic(path, b"\n".join(line for line in lines if _stays(line, keep)))


def _run(entry: object) -> Run | None:
    """A line as a Run, None for one of another form."""
    try:
        return _converter.structure(entry, Run)
    except Exception:  # cattrs raises what the types that it calls raise
        return None


def _stays(line: bytes, keep: Callable[[Run], bool]) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return True
    if isinstance(entry, dict):
        entry.pop("digest", None)
    run = _run(entry)
    return run is None or keep(run)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file's lock; on a file system without locks, nothing is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "a") as handle:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield

"""The stages of a results folder, whatever state they are in."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

import attrs

from udonx.common.files import DamagedFileError, read_bytes
from udonx.common.json_files import read_json, read_json_lines
from udonx.common.words import printable
from udonx.planning.identity import from_plain
from udonx.planning.stages import stage_title
from udonx.store.lock import holder_of

StageState = Literal["done", "running", "interrupted", "damaged", "missing"]


@attrs.frozen(kw_only=True)
class StageInfo:
    """A stage.

    Attributes:
        id: its id.
        title: what it is, in a few words.
        state: whether it is trained.
        step: the last step that its log names, or that it took; None where it has no log.
        steps: how many it takes; None where that is not known.
        resumable: whether it has a checkpoint to go on from.
        minutes: that its training took; None where it is not done.
        best_step: the step that was chosen; None where it is not done.
        best_r1: its R@1 on the validation splits; None without any.
        bytes: what its folder takes on the disk.
        holder: the process that trains or reads it, in words; empty where none does.
    """

    id: str
    title: str
    state: StageState
    step: int | None = None
    steps: int | None = None
    resumable: bool = False
    minutes: float | None = None
    best_step: int | None = None
    best_r1: float | None = None
    bytes: int = 0
    holder: str = ""

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        if self.step is None:
            return "before its first steps"
        return f"at step {self.step}{f' of {self.steps}' if self.steps else ''}"


def read_stage(folder: Path) -> StageInfo:
    """The stage of a folder."""
    if not folder.is_dir():
        return StageInfo(id=folder.name, title="stage", state="missing")
    done, damaged = _done(folder)
    spec, holder = _spec(folder), holder_of(folder) or ""
    training = spec.get("training") or {}
    state: StageState = "interrupted"
    if damaged:
        state = "damaged"
    elif done is not None:
        state = "done"
    elif holder:
        state = "running"
    return StageInfo(
        id=folder.name,
        title=_title(spec),
        state=state,
        step=done["steps"] if done else _last_step(folder),
        steps=training.get("steps"),
        resumable=os.path.lexists(folder / "state.pt"),
        minutes=done["seconds"] / 60 if done else None,
        best_step=done["best_step"] if done else None,
        best_r1=done["best_r1"] if done else None,
        bytes=size_of(folder),
        holder=printable(holder),
    )


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder; links count as nothing."""
    return sum(
        file.lstat().st_size
        for file in folder.rglob("*")
        if file.is_file() and not file.is_symlink()
    )


def _done(folder: Path) -> tuple[dict[str, Any] | None, bool]:
    """What done.json says, and whether it or the weights are damaged."""
    try:
        done = read_json(folder / "done.json", dict[str, Any])
        weights = done.get("weights") or {}
        size = (folder / "best.safetensors").stat().st_size
        damaged = size == 0 or size != weights.get("size", size)
        return {name: done[name] for name in ("steps", "seconds", "best_step", "best_r1")}, damaged
    except FileNotFoundError:
        return None, os.path.lexists(folder / "done.json")
    except (DamagedFileError, OSError, KeyError):
        return None, True


def _spec(folder: Path) -> dict[str, Any]:
    """The spec in stage.toml; empty where it cannot be read."""
    try:  # model.json has it too, beside the ids of all classes, which take a while to read
        spec = tomllib.loads(read_bytes(folder / "stage.toml").decode()).get("spec")
    except (DamagedFileError, OSError, ValueError, RecursionError):
        return {}
    return spec if isinstance(spec, dict) else {}


def _title(spec: dict[str, Any]) -> str:
    try:
        return printable(stage_title(from_plain(spec)))
    except Exception:  # cattrs raises what the types that it calls raise: a spec of another version
        return "stage"


def _last_step(folder: Path) -> int | None:
    """The last step that log.jsonl names."""
    try:
        entries, _ = read_json_lines(folder / "log.jsonl")
    except (DamagedFileError, OSError):
        return None
    steps = [entry["step"] for entry in entries if isinstance(entry.get("step"), int)]
    return steps[-1] if steps else None

"""A stage's folder and what lies in it.

Each file is whole or absent, the log is append-only, nothing damaged is believed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import attrs
import safetensors.torch
import tomli_w
import torch

from udonx.common.errors import sentence_of
from udonx.common.files import DamagedFileError, atomic_path, sha256_file, sweep, write_atomic
from udonx.common.json_files import append_json_line, read_json, read_json_lines, write_json
from udonx.data.unreadable import LeftOut

RETRAIN = "train the stage again with --fresh (and --row, for this row alone)"
"""How a finished stage whose files are damaged is made again. Nothing is removed unasked: it may
have trained for a week.
"""


@attrs.frozen(kw_only=True)
class Weights:
    """What best.safetensors is: its sha256 and its size in bytes."""

    sha256: str
    size: int


@attrs.frozen(kw_only=True)
class Done:
    """done.json: what a finished stage took.

    `best_r1` is None without a validation split, `batches` (per domain) where nothing was trained,
    `weights` in a stage of an earlier version, `unreadable` where every image could be decoded.
    """

    steps: int
    images: int
    seconds: float
    best_step: int
    best_r1: float | None
    batches: dict[str, int] | None = None
    weights: Weights | None = None
    unreadable: LeftOut | None = None


@attrs.frozen(kw_only=True)
class StageModel:
    """model.json: enough to build the stage's model without data or results.

    `data` are the manifests of its domains, `classes` the number of training classes of each,
    `class_ids` which they are, in the order of the classifier's columns.
    """

    id: str
    data: dict[str, str]
    plugins: list[str]
    spec: dict[str, Any]
    classes: dict[str, int]
    class_ids: dict[str, list[int]]


@attrs.frozen
class StageFolder:
    """The folder of a stage.

    `path` holds stage.toml, log.jsonl, state.pt (while training), best.safetensors, model.json and,
    at the end, done.json.
    """

    path: Path = attrs.field(converter=Path)

    @property
    def best(self) -> Path:
        """best.safetensors."""
        return self.path / "best.safetensors"

    @property
    def finished(self) -> bool:
        """Whether there is a done.json, whatever it says."""
        return os.path.lexists(self.path / "done.json")

    @property
    def done(self) -> Done | None:
        """What done.json says, None while the stage is not finished.

        The weights' size is compared, their content only by `load_best`.

        Raises:
            DamagedFileError: done.json is damaged, or best.safetensors is missing or cut off.
        """
        if not self.finished:
            return None
        done = read_json(self.path / "done.json", Done, RETRAIN)
        size = _size(self.best)
        if size != (done.weights.size if done.weights else size) or size == 0:
            written = f", not the {done.weights.size:,} that were written" if done.weights else ""
            raise DamagedFileError(self.best, f"has {size:,} bytes{written}", RETRAIN)
        return done

    @property
    def problem(self) -> str | None:
        """What is wrong with a finished stage, in one sentence, as far as `done` sees it."""
        try:
            _ = self.done
        except DamagedFileError as error:
            return str(error)
        return None

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return os.path.lexists(self.path / "state.pt")

    def write_spec(self, plain: dict[str, Any], model: StageModel) -> None:
        """Write stage.toml, for people, and model.json."""
        write_atomic(self.path / "stage.toml", tomli_w.dumps(plain))
        write_json(self.path / "model.json", attrs.asdict(model))

    def read_model(self) -> StageModel:
        """What `write_spec` kept in model.json.

        Raises:
            DamagedFileError: it is no such file, or damaged.
        """
        return read_json(self.path / "model.json", StageModel, RETRAIN)

    def save_best(
        self, tensors: dict[str, torch.Tensor], about: dict[str, Any] | None = None
    ) -> Weights:
        """Write best.safetensors.

        Args:
            tensors: a model's state.
            about: plain data that stands in the file's metadata: the stage, the step, what
                validation measured.
        """
        # one key: safetensors writes several in an order that differs from call to call, and equal
        # weights are to be equal files
        metadata = {"udonx": json.dumps(about, sort_keys=True)} if about else None
        with atomic_path(self.best) as temporary:
            safetensors.torch.save_file(_separate(tensors), temporary, metadata)
            return Weights(sha256=sha256_file(temporary), size=temporary.stat().st_size)

    def load_best(self) -> dict[str, torch.Tensor]:
        """Read best.safetensors.

        Raises:
            DamagedFileError: it is not what was written.
        """
        if (done := self.done) is not None and done.weights is not None:
            self.check_best(done.weights)
        _size(self.best)
        try:
            return safetensors.torch.load_file(self.best)
        except safetensors.SafetensorError as error:
            raise DamagedFileError(self.best, f"cannot be read ({error})", RETRAIN) from error

    def weigh_best(self) -> Weights:
        """What best.safetensors is now.

        Raises:
            DamagedFileError: it is no file.
        """
        return Weights(size=_size(self.best), sha256=sha256_file(self.best))

    def check_best(self, weights: Weights) -> None:
        """Refuse a best.safetensors that is not `weights`.

        Raises:
            DamagedFileError: it is another file.
        """
        if self.weigh_best() != weights:
            raise DamagedFileError(self.best, "is damaged: it is not what was written", RETRAIN)

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the checkpoint: tensors and plain data only."""
        with atomic_path(self.path / "state.pt") as temporary:
            torch.save(state, temporary)

    def load_state(self, device: torch.device) -> dict[str, Any]:
        """Read the checkpoint; never unpickles anything but tensors and plain data.

        Raises:
            DamagedFileError: it cannot be read.
        """
        file = self.path / "state.pt"
        _size(file)
        try:
            with zipfile.ZipFile(file) as archive:  # torch.load does not look at the checksums
                if (name := archive.testzip()) is not None:
                    raise ValueError(f"the checksum of {name} does not fit")
            return torch.load(file, map_location=device, weights_only=True)
        except Exception as error:  # a damaged archive fails in as many ways as it has bytes
            bad_offset = getattr(error, "errno", None) == errno.EINVAL
            # memory or the disk: the file may be whole
            if sentence_of(error) is not None and not bad_offset:
                raise
            why = str(error).splitlines() or [type(error).__name__]
            raise DamagedFileError(file, f"is damaged ({why[0]})") from error

    def drop_state(self) -> None:
        """Remove the checkpoint."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "state.pt").unlink()

    def finish(self, done: Done) -> None:
        """Write done.json, then remove the checkpoint."""
        write_json(self.path / "done.json", attrs.asdict(done))
        self.drop_state()

    def clear(self) -> None:
        """Remove what training left, so that the stage is trained again.

        Only the process that holds its lock may.
        """
        for name in ("done.json", "state.pt", "best.safetensors", "log.jsonl"):
            (self.path / name).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a killed process left.

        That is files half written, and a checkpoint that is of no more use.
        """
        sweep(self.path)
        if self.finished:
            self.drop_state()

    def log_size(self) -> int:
        """Length of log.jsonl in bytes."""
        file = self.path / "log.jsonl"
        return _size(file) if os.path.lexists(file) else 0

    def cut_log(self, size: int) -> None:
        """Cut log.jsonl back to the length that a checkpoint holds."""
        if present := self.log_size():
            os.truncate(self.path / "log.jsonl", min(size, present))

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to log.jsonl."""
        append_json_line(self.path / "log.jsonl", entry)

    def read_log(self) -> list[dict[str, Any]]:
        """All entries but damaged ones.

        An unterminated last line, of a process that was killed, is dropped.
        """
        entries, _ = read_json_lines(self.path / "log.jsonl")
        return entries


def _size(file: Path) -> int:
    """Bytes of a regular file; looking at anything else that stands there could wait for ever.

    Raises:
        DamagedFileError: it is no such file, or damaged.
    """
    try:
        found = file.stat()
    except FileNotFoundError:
        raise DamagedFileError(file, "is missing", RETRAIN) from None
    if not stat.S_ISREG(found.st_mode):
        raise DamagedFileError(file, "is no regular file", RETRAIN)
    return found.st_size


def _separate(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors on the CPU, those that share memory (tied weights) copied.

    safetensors writes each on its own.
    """
    plain: dict[str, torch.Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        storage = own.untyped_storage()
        if storage.data_ptr() in taken or storage.nbytes() != own.nbytes:
            own = own.clone(memory_format=torch.contiguous_format)
        taken.add(own.untyped_storage().data_ptr())
        plain[name] = own
    return plain

"""A stage's folder: what lies in it, each file whole or absent, the log append-only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
import safetensors.torch
import tomli_w
import torch

from udonx.files import atomic_path, write_atomic


@attrs.frozen
class StageFolder:
    """`path` holds stage.toml, log.jsonl, state.pt (while training), best.safetensors, model.json and, at the end, done.json."""

    path: Path = attrs.field(converter=Path)

    @property
    def done(self) -> dict[str, Any] | None:
        """What done.json says, None while the stage is not finished."""
        file = self.path / "done.json"
        return json.loads(file.read_text()) if file.exists() else None

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return (self.path / "state.pt").exists()

    def write_spec(self, plain: dict[str, Any], model: dict[str, Any]) -> None:
        """Write stage.toml, for people, and model.json, enough to load the model without data or results."""
        write_atomic(self.path / "stage.toml", tomli_w.dumps(plain))
        write_atomic(self.path / "model.json", json.dumps(model, indent=1))

    def read_model(self) -> dict[str, Any]:
        """What `write_spec` kept in model.json."""
        return json.loads((self.path / "model.json").read_text())

    def save_best(self, tensors: dict[str, torch.Tensor]) -> None:
        """Write best.safetensors."""
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with atomic_path(self.path / "best.safetensors") as temporary:
            safetensors.torch.save_file(plain, temporary)

    def load_best(self) -> dict[str, torch.Tensor]:
        """Read best.safetensors."""
        return safetensors.torch.load_file(self.path / "best.safetensors")

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the checkpoint: tensors and plain data only."""
        with atomic_path(self.path / "state.pt") as temporary:
            torch.save(state, temporary)

    def load_state(self, device: torch.device) -> dict[str, Any]:
        """Read the checkpoint; never unpickles anything but tensors and plain data."""
        return torch.load(self.path / "state.pt", map_location=device, weights_only=True)

    def finish(self, done: dict[str, Any]) -> None:
        """Write done.json, then remove the checkpoint."""
        write_atomic(self.path / "done.json", json.dumps(done, indent=1))
        (self.path / "state.pt").unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what training left, so that the stage is trained again; only for the one who holds it."""
        for name in ("done.json", "state.pt", "best.safetensors", "log.jsonl"):
            (self.path / name).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a killed process left while it wrote; only for the one who holds the stage."""
        for leftover in self.path.glob(".*.tmp"):
            leftover.unlink()

    def log_size(self) -> int:
        """Length of log.jsonl in bytes."""
        file = self.path / "log.jsonl"
        return file.stat().st_size if file.exists() else 0

    def cut_log(self, size: int) -> None:
        """Cut log.jsonl back to the length that a checkpoint holds."""
        file = self.path / "log.jsonl"
        if file.exists():
            os.truncate(file, min(size, file.stat().st_size))

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to log.jsonl."""
        with open(self.path / "log.jsonl", "a") as handle:
            handle.write(json.dumps(entry) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """All entries; an unterminated last line, of a process that was killed, is dropped."""
        file = self.path / "log.jsonl"
        if not file.exists():
            return []
        return [json.loads(line) for line in file.read_text().split("\n")[:-1]]

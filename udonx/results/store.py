"""The results folder: where everything lies, and evaluations on disk (docs/results.md)."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import attrs
import numpy as np

from udonx.engine.folder import StageFolder
from udonx.evaluation.metrics import RetrievalMetrics
from udonx.evaluation.protocol import ProtocolResult
from udonx.files import atomic_path, write_atomic


class PerQueryError(Exception):
    """per_query.npz of an evaluation is missing or damaged; `str()` says which of them, in a few words."""


@attrs.frozen(eq=False)
class StoredHits:
    """The R@1 hits of an evaluation's queries, in the order of the file. `checksum` is equal where the queries and their order are."""

    file: Path
    hit_Q: np.ndarray  # bool
    checksum: tuple[int, ...]

    def read(self, name: str) -> np.ndarray:
        """The queries' "domain" or "id" [Q], as text. Raises PerQueryError."""
        with _open_arrays(self.file) as arrays:
            array_Q = arrays[name]
            if array_Q.shape != self.hit_Q.shape:
                raise ValueError(f"{name} and hits have different lengths")
        return array_Q


@attrs.frozen
class Results:
    """`root` holds stages/, evaluations/, tables/, runs.jsonl and sacred/."""

    root: Path = attrs.field(converter=Path)

    def stage(self, identity: str) -> StageFolder:
        """The folder of a stage."""
        return StageFolder(self.root / "stages" / identity)

    def evaluation(self, identity: str) -> Path:
        """The folder of an evaluation."""
        return self.root / "evaluations" / identity

    def table(self, name: str, variant: str) -> Path:
        """The folder of a table."""
        return self.root / "tables" / name / variant

    def read_evaluation(self, identity: str) -> dict[str, Any] | None:
        """metrics.json of an evaluation, None where it has not been made."""
        file = self.evaluation(identity) / "metrics.json"
        return json.loads(file.read_text()) if file.exists() else None

    def write_evaluation(self, identity: str, result: ProtocolResult, about: dict[str, Any]) -> None:
        """Write per_query.npz, then metrics.json, whose presence says that the evaluation is whole."""
        folder = self.evaluation(identity)
        own = result.own.per_query
        arrays = {"id": np.array(own.ids), "domain": np.array(own.domain), "positives": own.positives}
        for name, metrics in (("own", result.own), ("merged", result.merged)):
            if metrics is not None:
                arrays |= {f"{name}_hit": metrics.per_query.hit, f"{name}_mmp5": metrics.per_query.mmp5}
        with atomic_path(folder / "per_query.npz") as temporary, open(temporary, "wb") as handle:
            np.savez_compressed(handle, **arrays)
        plain = {**about, "merged": result.merged and _plain(result.merged), "own": _plain(result.own)}
        write_atomic(folder / "metrics.json", json.dumps(plain, indent=1))

    def read_hits(self, identity: str, index: str) -> StoredHits:
        """What per_query.npz says of R@1 with the index "merged" or "own". Raises PerQueryError.

        The names of the queries take a hundred times as long to read as their hits; so they are compared by the checksums that the
        archive holds anyway, and read only where those differ.
        """
        file = self.evaluation(identity) / "per_query.npz"
        with _open_arrays(file) as arrays:
            hit_Q = arrays[f"{index}_hit"]
            if hit_Q.dtype != bool or hit_Q.ndim != 1 or not len(hit_Q):
                raise ValueError(f"{index}_hit is no list of hits")
            members = [arrays.zip.getinfo(f"{name}.npy") for name in ("domain", "id")]
        return StoredHits(file, hit_Q, tuple(number for member in members for number in (member.CRC, member.file_size)))

    def forget_evaluations(self, stages: set[str]) -> None:
        """Remove every evaluation that looked at one of `stages`, so that it is made again."""
        for file in (self.root / "evaluations").glob("*/metrics.json"):
            if stages & set(json.loads(file.read_text())["stages"].values()):
                file.unlink()

    def append_run(self, entry: dict[str, Any]) -> None:
        """Add a line to runs.jsonl: a (row, seed) that starts."""
        self.root.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S"), **entry}) + "\n"
        with open(self.root / "runs.jsonl", "ab+") as handle:
            whole = handle.seek(0, os.SEEK_END)
            if whole and not self._ends_whole(handle):
                handle.seek(0)
                handle.truncate(handle.read().rfind(b"\n") + 1)  # half a line, of a process that was killed while it wrote
            handle.write(line.encode())

    @staticmethod
    def _ends_whole(handle: IO[bytes]) -> bool:
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) == b"\n"

    def runs(self) -> list[dict[str, Any]]:
        """All lines of runs.jsonl; an unterminated last one is dropped."""
        file = self.root / "runs.jsonl"
        return [json.loads(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []


@contextlib.contextmanager
def _open_arrays(file: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of a per_query.npz; what goes wrong while they are read becomes a PerQueryError."""
    try:
        with np.load(file) as arrays:
            yield arrays
    except FileNotFoundError:
        raise PerQueryError("missing") from None
    except Exception as error:  # a damaged archive fails in as many ways as it has bytes, and a table is shown all the same
        raise PerQueryError("unreadable") from error


def _plain(metrics: RetrievalMetrics) -> dict[str, Any]:
    return {
        "r1": metrics.r1,
        "mmp5": metrics.mmp5,
        "per_domain": {name: attrs.asdict(domain) for name, domain in metrics.per_domain.items()},
        "without_positives": int((metrics.per_query.positives == 0).sum()),
    }

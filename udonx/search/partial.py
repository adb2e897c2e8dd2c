"""Vectors that are still being made: each batch is kept as soon as it is there.

`vectors.f32` holds the numbers, `batches.jsonl` a line for each batch with its images and the
checksum of its numbers. What a killed process left half written is cut off.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from udonx.common.files import naming, write_atomic
from udonx.common.json_files import append_json_line, read_json_lines
from udonx.engine.model_identity import ModelIdentity
from udonx.search.vectors import ImageFile, check_same_model


class PartialVectors:
    """The vectors of some images, on disk.

    Args:
        folder: where they lie; it need not be there.
        model: what embeds.

    Attributes:
        images: those that have a vector, with absolute paths.

    Raises:
        VectorsError: another model has begun in this folder.
    """

    def __init__(self, folder: Path, model: ModelIdentity) -> None:
        self.folder, self.model = folder, model
        self._numbers, self._batches = folder / "vectors.f32", folder / "batches.jsonl"
        self.images: list[ImageFile] = []
        self._resume()

    def __len__(self) -> int:
        return len(self.images)

    def append(self, images: Sequence[ImageFile], vectors_BD: np.ndarray) -> None:
        """Keep a batch.

        Args:
            images: B of them, with absolute paths.
            vectors_BD: float32 [B, D].
        """
        data = np.ascontiguousarray(vectors_BD, dtype=np.float32).tobytes()
        with naming(self.folder):
            if not self.images:
                self._batches.unlink(missing_ok=True)
                append_json_line(self._batches, {"model": attrs.asdict(self.model)})
            with open(self._numbers, "ab") as handle:
                handle.write(data)
            append_json_line(self._batches, self._entry(images, zlib.crc32(data)))
        self.images += images

    def vectors(self) -> np.ndarray:
        """The vectors, float32 [N, D], mapped into memory."""
        if not self.images:
            return np.empty((0, self.model.dim), dtype=np.float32)
        shape = (len(self.images), self.model.dim)
        return np.memmap(self._numbers, dtype=np.float32, mode="r", shape=shape)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _entry(self, images: Sequence[ImageFile], checksum: int) -> dict[str, Any]:
        return {
            "first": len(self.images),
            "crc32": checksum,
            "images": [[image.path, image.size, image.time] for image in images],
        }

    def _resume(self) -> None:
        """Take what is whole, and cut off the rest."""
        entries, _ = read_json_lines(self._batches)
        whole: list[dict[str, Any]] = []
        if entries and "model" in entries[0]:
            began = ModelIdentity(**entries[0]["model"])
            check_same_model(self.model, began, f"{self.folder.parent}, which is not finished,")
            whole = self._whole(entries[1:])
        if not whole:
            self._numbers.unlink(missing_ok=True)
            return
        os.truncate(self._numbers, len(self.images) * self._row_bytes)
        if len(whole) < len(entries) - 1:
            write_atomic(self._batches, "")
            for entry in (entries[0], *whole):
                append_json_line(self._batches, entry)

    def _whole(self, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The batches up to the first one whose numbers are not what was written."""
        whole = []
        try:
            numbers = open(self._numbers, "rb")  # noqa: SIM115  it may be missing
        except FileNotFoundError:
            return []
        with numbers:
            for entry in entries:
                data = numbers.read(len(entry["images"]) * self._row_bytes)
                if entry["first"] != len(self.images) or zlib.crc32(data) != entry["crc32"]:
                    break
                self.images += [ImageFile(*image) for image in entry["images"]]
                whole.append(entry)
        return whole

    @property
    def _row_bytes(self) -> int:
        return self.model.dim * np.dtype(np.float32).itemsize

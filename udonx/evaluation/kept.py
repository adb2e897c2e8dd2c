"""Embeddings on disk while an evaluation is under way.

So one that is killed goes on with the split that it was at.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np

from udonx.common.files import atomic_path

WORTH_SECONDS = 5.0
"""What took less is not kept: to write it and read it again would take as long."""


@attrs.define
class KeptEmbeddings:
    """The embeddings of whole splits, one file each.

    Whatever is missing, damaged or of another model is embedded again.

    Args:
        folder: where they lie: `<domain>/<split>.npz`, each written whole, with checksums.
        models: what embeds each domain: the sha256 of its weights.

    Attributes:
        loaded: whether any were there to go on with.
    """

    folder: Path
    models: Mapping[str, str]
    loaded: bool = attrs.field(default=False, init=False)

    def load(self, domain: str, split: str, size: int) -> tuple[np.ndarray, list[int]] | None:
        """What `save` was given, None where it is not there.

        Args:
            domain: whose images they are.
            split: its name.
            size: images of the split.
        """
        file = self._file(domain, split)
        if not file.is_file():
            return None
        try:
            with np.load(file) as arrays:
                embeddings_MD, rows_M, model = (
                    arrays[name] for name in ("embeddings", "rows", "model")
                )
            whole = (
                embeddings_MD.shape[:1] == rows_M.shape
                and embeddings_MD.ndim == 2
                and embeddings_MD.dtype == np.float32
            )
            if (
                not whole
                or str(model) != self.models[domain]
                or not set(rows := rows_M.tolist()) <= set(range(size))
            ):
                return None
        except MemoryError:
            raise
        except (
            Exception
        ):  # a damaged archive fails in as many ways as it has bytes, and nothing is lost but time
            return None
        self.loaded = True
        return embeddings_MD, rows

    def save(
        self, domain: str, split: str, embeddings_MD: np.ndarray, rows: list[int], seconds: float
    ) -> None:
        """Keep embeddings and the places in the split's list that they are of.

        Args:
            domain: whose images they are.
            split: its name.
            embeddings_MD: float32 [M, D].
            rows: M places.
            seconds: what they took.
        """
        if seconds < WORTH_SECONDS:
            return
        # suppress: on a full disk they are not kept
        with (
            contextlib.suppress(OSError),
            atomic_path(self._file(domain, split)) as temporary,
            open(temporary, "wb") as handle,
        ):
            np.savez(
                handle,
                embeddings=embeddings_MD,
                rows=np.array(rows, dtype=np.int64),
                model=np.array(self.models[domain]),
            )

    def clear(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, domain: str, split: str) -> Path:
        return self.folder / domain / f"{split}.npz"

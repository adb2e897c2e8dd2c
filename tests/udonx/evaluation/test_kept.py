"""Embeddings that are kept while an evaluation is under way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from udonx.evaluation import kept as module
from udonx.evaluation.kept import KeptEmbeddings

EMBEDDINGS = np.random.default_rng(0).standard_normal((5, 3), dtype=np.float32)
ROWS = [0, 1, 3, 4, 6]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptEmbeddings:
    """One split of seven images, five of them embedded, is kept."""
    store = KeptEmbeddings(tmp_path / "embeddings", {"cars": "a" * 64, "food": "b" * 64})
    store.save("cars", "test", EMBEDDINGS, ROWS, 100.0)
    return store


def test_what_is_kept_is_found(kept: KeptEmbeddings) -> None:
    """Embeddings and their places come back as they were, and `loaded` says that there were any;
    without them there is nothing.
    """
    assert (
        kept.load("cars", "index", 7) is None
        and kept.load("food", "test", 7) is None
        and not kept.loaded
    )
    embeddings, rows = kept.load("cars", "test", 7)
    np.testing.assert_array_equal(embeddings, EMBEDDINGS)
    assert rows == ROWS and kept.loaded
    kept.clear()
    kept.clear()
    assert kept.load("cars", "test", 7) is None and not kept.folder.exists()


def test_what_another_model_embedded_is_not_believed(kept: KeptEmbeddings) -> None:
    """Embeddings of other weights, as after --fresh, or of a split of fewer images, are embedded
    again.
    """
    assert KeptEmbeddings(kept.folder, {"cars": "c" * 64}).load("cars", "test", 7) is None
    assert kept.load("cars", "test", 6) is None and not kept.loaded


def test_every_damage_is_noticed(kept: KeptEmbeddings) -> None:
    """A file that is cut off, or in which any bit of the content is flipped, is embedded again, and
    so is a pipe in its place.
    """
    (file,) = kept.folder.rglob("*.npz")
    content = file.read_bytes()
    for end in range(0, len(content), 7):
        file.write_bytes(content[:end])
        assert kept.load("cars", "test", 7) is None
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        file.write_bytes(flipped)
        found = kept.load("cars", "test", 7)  # some bytes, of times and attributes, have no meaning
        assert found is None or (np.array_equal(found[0], EMBEDDINGS) and found[1] == ROWS)
    file.unlink()
    os.mkfifo(file)
    assert kept.load("cars", "test", 7) is None


def test_what_took_no_time_is_not_kept(kept: KeptEmbeddings) -> None:
    """A split that is embedded in a moment is not written."""
    kept.save("food", "test", EMBEDDINGS, ROWS, module.WORTH_SECONDS / 2)
    assert kept.load("food", "test", 7) is None


def test_a_full_disk_is_no_error(kept: KeptEmbeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they cannot be written, they are not kept, and nothing is left over."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    kept.save("food", "test", EMBEDDINGS, ROWS, 100.0)
    assert [file.name for file in kept.folder.rglob("*") if file.is_file()] == ["test.npz"]

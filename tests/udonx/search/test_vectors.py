"""A folder of vectors: written whole, read back, and refused where it is damaged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest

from udonx.common.extras import MissingExtraError
from udonx.common.files import DamagedFileError
from udonx.common.json_files import read_json, write_json
from udonx.search import vectors
from udonx.search.vectors import ModelIdentity, Vectors, VectorsError, check_same_model

MODEL = ModelIdentity(
    id="0123456789abcdef", weights="f" * 64, branch="student", dim=8, name="udon", source="/s/01"
)
NAMES = ["a.jpg", "dogs/b é.jpg", "dogs/\udcff.jpg", 'line\nbreak "c".jpg', "e.jpg"]


def some_vectors(count: int = 5) -> Vectors:
    rows_ND = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    rows_ND /= np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-9)
    return Vectors(vectors=rows_ND, paths=NAMES[:count], model=MODEL, root="/photos")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("storage", ["npy", "parquet", "safetensors"])
def test_what_is_saved_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str, dtype: str
) -> None:
    """Each form gives back vectors, paths of any name, model and root, over several blocks."""
    monkeypatch.setattr(vectors, "_BLOCK", 2)
    kept = some_vectors()
    kept.save(tmp_path / "v", storage=storage, dtype=dtype)
    opened = Vectors.open(tmp_path / "v")
    assert opened.vectors.dtype == dtype and isinstance(opened.vectors, np.memmap) == (
        storage == "npy"
    )
    np.testing.assert_array_equal(opened.vectors, kept.vectors.astype(dtype))
    assert (opened.paths, opened.model, opened.root) == (NAMES, MODEL, Path("/photos"))
    assert (opened.model.name, opened.model.source) == ("udon", "/s/01")
    assert opened.files[0] == Path("/photos/a.jpg")
    Vectors.verify(tmp_path / "v")
    assert sorted(file.name for file in (tmp_path / "v").iterdir()) == sorted(
        ["images.jsonl", "vectors.json", f"vectors.{storage}"]
    )


def test_other_programs_read_the_vectors(tmp_path: Path) -> None:
    """NumPy, pyarrow and safetensors open the files without udonx; Parquet has id and path too."""
    import pyarrow.parquet
    from safetensors.numpy import load_file

    kept = some_vectors()
    for storage in ("npy", "parquet", "safetensors"):
        kept.save(tmp_path / storage, storage=storage)
    np.testing.assert_array_equal(np.load(tmp_path / "npy" / "vectors.npy"), kept.vectors)
    tensors = load_file(tmp_path / "safetensors" / "vectors.safetensors")
    np.testing.assert_array_equal(tensors["vectors"], kept.vectors)
    table = pyarrow.parquet.read_table(tmp_path / "parquet" / "vectors.parquet")
    assert table.column_names == ["id", "path", "vector"]
    assert table["path"].to_pylist()[:2] == NAMES[:2] and table["id"].to_pylist() == [*range(5)]
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), np.float32), kept.vectors)


@pytest.mark.parametrize("storage", ["npy", "parquet", "safetensors"])
def test_no_vector_at_all_is_kept_too(tmp_path: Path, storage: str) -> None:
    """An empty set has its model and its width."""
    some_vectors(0).save(tmp_path / "v", storage=storage)
    assert Vectors.open(tmp_path / "v").vectors.shape == (0, 8)


@pytest.mark.parametrize(
    "name, damage, sentence",
    [
        ("vectors.npy", lambda data: data[:-4], r"vectors.npy has 284 bytes, not 288; the same"),
        ("vectors.npy", None, r"vectors.npy is missing"),
        ("images.jsonl", lambda data: data[:-4] + b"x" * 4, r"images.jsonl is damaged"),
        ("vectors.json", lambda data: data.replace(b"npy", b"nyp"), r"vectors.json is damaged"),
        ("vectors.json", lambda data: data[:99], r"vectors.json is no valid JSON"),
    ],
)
def test_damage_is_refused(tmp_path: Path, name: str, damage, sentence: str) -> None:
    """A file that is cut off, missing or changed ends in one sentence that says how to mend it."""
    some_vectors().save(tmp_path / "v")
    file = tmp_path / "v" / name
    data = file.read_bytes()
    file.unlink()
    if damage:
        file.write_bytes(damage(data))
    with pytest.raises(DamagedFileError, match=sentence):
        Vectors.open(tmp_path / "v")


def test_a_changed_vector_is_found_by_verify(tmp_path: Path) -> None:
    """A bit that changed leaves the size as it was; the whole content is read where it is asked."""
    some_vectors().save(tmp_path / "v")
    file = tmp_path / "v" / "vectors.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"vectors.npy is damaged: it is not what was"):
        Vectors.verify(tmp_path / "v")


def test_what_is_no_folder_of_vectors_is_refused(tmp_path: Path) -> None:
    """Another folder, a later version, and one whose writing was stopped: a sentence each."""
    with pytest.raises(VectorsError, match="is no folder of vectors: it has no"):
        Vectors.open(tmp_path)
    some_vectors().save(tmp_path / "v")
    with pytest.raises(VectorsError, match="is not empty; give a new folder"):
        some_vectors().save(tmp_path / "v")
    content = read_json(tmp_path / "v" / "vectors.json", dict)
    write_json(tmp_path / "v" / "vectors.json", {**content, "format": 2, "new": 1})
    with pytest.raises(VectorsError, match="has format 2, and this udonx reads 1: install a newer"):
        Vectors.open(tmp_path / "v")
    (tmp_path / "v" / "ready").mkdir()
    with pytest.raises(VectorsError, match="was stopped while it put new vectors there"):
        Vectors.open(tmp_path / "v")
    with pytest.raises(VectorsError, match="--format: got 'csv', allowed are npy, parquet, safe"):
        some_vectors().save(tmp_path / "w", storage="csv")
    with pytest.raises(VectorsError, match=r"must have the shape \[1, 8\], got \[1, 3\]"):
        Vectors(vectors=np.zeros((1, 3)), paths=["a"], model=MODEL, root="/")


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A failure amid the vectors leaves no folder of vectors behind, and old ones as they were."""

    def failing():
        yield np.zeros((1, 8), np.float32)
        raise OSError(28, "No space left on device")

    for folder in (tmp_path / "new", tmp_path / "old"):
        if folder.name == "old":
            some_vectors().save(folder)
        with pytest.raises(OSError, match="No space left") as caught:
            vectors.write_vectors(
                *(folder, failing(), [vectors.ImageFile("a")] * 2, MODEL, Path("/")),
                **{"storage": "npy", "dtype": "float32"},
            )
        assert caught.value.filename == str(folder / "vectors.npy")
    assert list((tmp_path / "new").iterdir()) == []
    assert len(Vectors.open(tmp_path / "old")) == 5


def test_models_are_equal_where_their_vectors_are(tmp_path: Path) -> None:
    """The place and name of a model do not count; its weights, branch, dimension and flip do."""
    check_same_model(attrs.evolve(MODEL, name="other", source="/elsewhere"), MODEL, "v")
    changes = [{"id": "1"}, {"weights": "1"}, {"branch": "feature"}, {"dim": 9}, {"tta": "flip"}]
    for change in [*changes, {"domain": "cars"}]:
        with pytest.raises(VectorsError, match=r"^v holds vectors of udon \(student 8; weights"):
            check_same_model(attrs.evolve(MODEL, **change), MODEL, "v")


def test_a_missing_extra_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet without pyarrow says which extra brings it, and writes nothing."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    sentence = r"^--format parquet needs the package pyarrow: pip install 'udonx\[parquet\]'$"
    with pytest.raises(MissingExtraError, match=sentence):
        some_vectors().save(tmp_path / "v", storage="parquet")
    assert not (tmp_path / "v").exists()


def test_names_of_images_are_json_lines(tmp_path: Path) -> None:
    """Any program reads `images.jsonl`: one line an image, in the order of the vectors."""
    some_vectors().save(tmp_path / "v")
    lines = (tmp_path / "v" / "images.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == NAMES

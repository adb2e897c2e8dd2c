"""An index of vectors: built, searched, changed, kept."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import attrs
import numpy as np
import pytest

from udonx.common import files
from udonx.common.files import DamagedFileError
from udonx.search.index import Index
from udonx.search.vectors import ModelIdentity, Vectors, VectorsError

MODEL = ModelIdentity(id="0123", weights="4567", branch="student", dim=8, name="udon")


def vectors_of(count: int, *, first: int = 0, root: str = "/photos", **changes) -> Vectors:
    """Random unit vectors of images that are not there."""
    rows = np.random.default_rng(first).standard_normal((count, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return attrs.evolve(
        Vectors(
            vectors=rows,
            paths=[f"{number}.jpg" for number in range(first, first + count)],
            model=MODEL,
            root=Path(root),
        ),
        **changes,
    )


def same(first: Index, second: Index) -> bool:
    """Whether two indexes find the same."""
    queries = vectors_of(5, first=900).vectors
    one, other = first.search(queries, 3), second.search(queries, 3)
    return [*one] == [*other]


def test_neighbours_are_those_of_all_inner_products():
    """The neighbours are the rows with the highest inner products, with their files."""
    vectors, queries = vectors_of(50), vectors_of(4, first=100)
    found = Index.build(vectors).search(queries, k=5)
    products = queries.vectors @ vectors.vectors.T
    assert np.array_equal(found.rows, np.argsort(-products, axis=1)[:, :5])
    best = found[2][0]
    assert best.path == Path(f"/photos/{products[2].argmax()}.jpg")
    assert best.score == pytest.approx(products[2].max())
    assert [len(each) for each in found] == [5, 5, 5, 5]


def test_queries_of_another_model_are_refused():
    """Vectors of another model are refused by search and by add, in one sentence."""
    index = Index(vectors_of(5))
    others = vectors_of(5, model=attrs.evolve(MODEL, weights="89ab", name="baseline"))
    for use in (index.search, index.add):
        with pytest.raises(VectorsError, match=r"the index holds vectors of udon .*baseline"):
            use(others)
    with pytest.raises(VectorsError, match="queries have 3 dimensions, the index 8"):
        index.search(np.eye(3))


@pytest.mark.parametrize("k", [0, 6])
def test_k_beyond_the_index_is_refused(k):
    """k is 1 to the size of the index."""
    with pytest.raises(VectorsError, match=f"k: got {k}, allowed is 1 to 5"):
        Index(vectors_of(5)).search(vectors_of(1), k)


@pytest.mark.parametrize("scale", [2.0, np.nan])
def test_vectors_must_have_unit_length(scale):
    """A row of another length than 1 is refused and named."""
    vectors = vectors_of(4)
    vectors.vectors[2] *= scale
    with pytest.raises(VectorsError, match=r"the vector of 2\.jpg has length"):
        Index(vectors)


def test_too_few_vectors_for_a_structure():
    """An approximate kind says how many vectors it needs; an unknown kind is refused."""
    with pytest.raises(VectorsError, match="hnsw needs at least 1,000 vectors, got 5"):
        Index(vectors_of(5), "hnsw")
    with pytest.raises(VectorsError, match="'flat', allowed are exact, hnsw, ivfpq"):
        Index(vectors_of(5), "flat")
    with pytest.raises(VectorsError, match="no vectors"):
        Index(vectors_of(0))


def test_images_are_added_replaced_and_removed():
    """What is added is found; an image that is there already gets its new vector."""
    index = Index(vectors_of(5))
    index.search(vectors_of(1))  # what was prepared for the old vectors must not serve the new
    more = vectors_of(4, first=3)  # 3 and 4 are there
    assert index.add(more) == 2
    assert sorted(index.vectors.paths) == [f"{number}.jpg" for number in range(7)]
    assert [each[0].path.name for each in index.search(more, 1)] == [*more.paths]
    assert index.remove(["3.jpg", "6.jpg", "nowhere.jpg"]) == 2
    assert len(index) == 5 and index.search(more, 1)[0][0].path.name != "3.jpg"
    with pytest.raises(VectorsError, match="no image would be left"):
        index.remove(index.vectors.paths)


def test_images_of_two_roots_keep_their_files():
    """Vectors of two folders of images lie in one index with the files that they are of."""
    index = Index(vectors_of(2, root="/photos/cars"))
    index.add(vectors_of(2, root="/photos/dishes"))
    assert index.vectors.root == Path("/photos")
    assert [str(path) for path in index.vectors.files] == [
        "/photos/cars/0.jpg",
        "/photos/cars/1.jpg",
        "/photos/dishes/0.jpg",
        "/photos/dishes/1.jpg",
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_an_index_is_read_as_it_was_saved(tmp_path, kind, dtype):
    """What was saved is read back: vectors, paths, model, kind, recall; on disk it stays mapped."""
    vectors = vectors_of(1000)
    index = Index.build(attrs.evolve(vectors, vectors=vectors.vectors.astype(dtype)), kind)
    index.save(tmp_path / "index")
    read = Index.load(tmp_path / "index")
    assert same(index, read)
    assert (read.kind, read.recall, read.model) == (kind, index.recall, MODEL)
    assert isinstance(read.vectors.vectors, np.memmap) and read.vectors.vectors.dtype == dtype
    assert (read.recall is None) == (kind == "exact")


def test_a_structure_follows_a_change(tmp_path):
    """After a change an approximate index searches what is there now, and measures itself anew."""
    index = Index.build(vectors_of(1200), "hnsw")
    before = index.recall
    index.remove(index.vectors.paths[:100])
    index.save(tmp_path / "index")
    read = Index.load(tmp_path / "index")
    assert len(read) == 1100 and read.recall.queries == 110 and read.recall != before
    assert read.search(read.vectors.vectors[:1], 1)[0][0].path.name == "100.jpg"
    read.remove(read.vectors.paths[:500])
    assert read.kind == "exact"  # too few for a structure


def test_saving_over_an_index_replaces_it(tmp_path):
    """A changed index is saved where it was loaded from; nothing of the old one stays."""
    Index(vectors_of(5)).save(tmp_path)
    index = Index.load(tmp_path)
    index.add(vectors_of(3, first=5))
    index.save(tmp_path)
    assert len(Index.load(tmp_path)) == 8
    assert len([*tmp_path.iterdir()]) == 2  # index.json and one state
    (tmp_path / "notes.txt").touch()
    with pytest.raises(VectorsError, match="holds something else than an index"):
        index.save(tmp_path)


def test_a_save_that_fails_leaves_the_index_as_it_was(tmp_path, monkeypatch):
    """Whichever file operation fails, the old index can be read, and a later save sweeps up."""
    Index(vectors_of(5)).save(tmp_path / "index")
    replace, left = os.replace, 0

    def failing(*names):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")
        return replace(*names)

    monkeypatch.setattr(files.os, "replace", failing)
    for allowed in range(3):  # vectors ready, vectors, ..., index.json
        left = allowed
        with pytest.raises(OSError, match="No space left"):
            Index(vectors_of(7)).save(tmp_path / "index")
        assert len(Index.load(tmp_path / "index")) == 5
    left = 100
    Index(vectors_of(7)).save(tmp_path / "index")
    assert len(Index.load(tmp_path / "index")) == 7
    assert len([*(tmp_path / "index").iterdir()]) == 2


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_a_save_that_is_killed_leaves_the_index_as_it_was(tmp_path, monkeypatch, allowed):
    """Killed before any of its renames, it leaves the old index; a later save sweeps up."""
    Index(vectors_of(5)).save(tmp_path / "index")
    if (child := os.fork()) == 0:
        replace, calls = os.replace, []

        def killing(*names):
            calls.append(names)
            if len(calls) > allowed:
                os.kill(os.getpid(), signal.SIGKILL)
            return replace(*names)

        monkeypatch.setattr(files.os, "replace", killing)
        try:
            Index(vectors_of(7)).save(tmp_path / "index")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert len(Index.load(tmp_path / "index")) == 5
    Index(vectors_of(6)).save(tmp_path / "index")
    assert len(Index.load(tmp_path / "index")) == 6
    assert len([*(tmp_path / "index").iterdir()]) == 2


def test_a_damaged_index_is_refused(tmp_path):
    """Every file of an index, with a byte flipped, cut short or removed, is refused."""
    Index.build(vectors_of(1000), "hnsw").save(tmp_path / "index")
    for file in [path for path in (tmp_path / "index").rglob("*") if path.is_file()]:
        whole = file.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        for content in (flipped, whole[:-1], None):
            file.unlink()
            if content is not None:
                file.write_bytes(content)
            with pytest.raises((DamagedFileError, VectorsError)):
                Index.load(tmp_path / "index")
            file.write_bytes(whole)
    assert len(Index.load(tmp_path / "index")) == 1000


def test_what_is_no_index_is_refused(tmp_path):
    """A folder without index.json, and an index of a later version, are refused."""
    with pytest.raises(VectorsError, match=r"is no index: it has no index\.json"):
        Index.load(tmp_path)
    Index(vectors_of(5)).save(tmp_path / "index")
    file = tmp_path / "index" / "index.json"
    content = {**json.loads(file.read_text()), "format": 2}
    del content["digest"]
    file.write_text(json.dumps(content))
    with pytest.raises(VectorsError, match="has format 2, and this udonx reads 1"):
        Index.load(tmp_path / "index")

"""`udonx.index`: an index made of folders, and changed."""

from __future__ import annotations

import fcntl
import os

import attrs
import pytest

import udonx
from tests.udonx.search.test_index import MODEL, vectors_of
from udonx.search.index import Index
from udonx.search.vectors import VectorsError


@pytest.fixture
def folders(tmp_path):
    """Two folders of vectors of one model, of three images each, and one of another model."""
    vectors_of(3, root="/photos/cars").save(tmp_path / "cars")
    vectors_of(3, root="/photos/dishes").save(tmp_path / "dishes")
    other = attrs.evolve(MODEL, weights="89ab", name="other")
    vectors_of(3, model=other).save(tmp_path / "other")
    return tmp_path


def test_an_index_of_several_folders_is_made_and_changed(folders):
    """Folders are put together; what is removed and added then is saved."""
    out = folders / "index"
    udonx.index([folders / "cars", folders / "dishes"], out=out)
    assert len(Index.load(out)) == 6
    udonx.index(out=out, remove=["cars/*", "*/2.jpg"])
    assert Index.load(out).vectors.paths == ["dishes/0.jpg", "dishes/1.jpg"]
    made = udonx.index(str(folders / "cars"), out=out, add=True)
    assert len(made) == len(Index.load(out)) == 5
    assert len(udonx.index(folders / "cars", out=out, overwrite=True)) == 3
    udonx.index(out, out=folders / "copy")
    assert Index.load(folders / "copy").vectors.paths == Index.load(out).vectors.paths


@pytest.mark.parametrize(
    ("given", "changes", "sentence"),
    [
        (["cars"], {}, "is an index already; add to it with --add"),
        (["cars"], {"add": True, "overwrite": True}, "--overwrite makes a new index"),
        (["cars"], {"remove": "*"}, "say with --add"),
        ([], {}, "no folder is given"),
        ([], {"add": True}, "no folder is given"),
        (
            [],
            {"remove": "boats/*"},
            r"--remove boats/\*: no image matches; paths look like '0.jpg'",
        ),
        (["other"], {"add": True}, "the index holds vectors of udon .* those of other"),
        (["nowhere"], {"add": True}, "is no folder of vectors"),
        (["cars"], {"add": True, "kind": "hnsw"}, "hnsw needs at least 1,000 vectors, got 3"),
    ],
)
def test_a_call_that_cannot_be_meant_changes_nothing(folders, given, changes, sentence):
    """Each ends in one sentence, and the index is as it was."""
    out = folders / "index"
    udonx.index(folders / "cars", out=out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(VectorsError, match=sentence):
        udonx.index([folders / name for name in given], out=out, **changes)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_what_is_no_index_is_not_written_over(folders):
    """A folder with other things in it, and a file, are left alone."""
    with pytest.raises(VectorsError, match="holds something else than an index"):
        udonx.index(folders / "cars", out=folders / "dishes")
    (folders / "file").touch()
    with pytest.raises(udonx.ConfigError, match=r"--out: .*file is no folder"):
        udonx.index(folders / "cars", out=folders / "file")


def test_two_changes_at_once_are_refused(folders):
    """While one process changes an index another one is refused, so that no change is lost."""
    out = folders / "index"
    udonx.index(folders / "cars", out=out)
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(VectorsError, match="another process is changing this index"):
        udonx.index(folders / "dishes", out=out, add=True)
    os.close(handle)
    assert len(udonx.index(folders / "dishes", out=out, add=True)) == 6

"""Vectors that other search engines open, in the mode in which they run inside this process."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import numpy as np
import pytest

import udonx
from udonx.cli import main
from udonx.common.extras import MissingExtraError
from udonx.common.json_files import read_json
from udonx.search import vectors as search_vectors
from udonx.search.engines import export_vectors
from udonx.search.vectors import ModelIdentity, Vectors, VectorsError

MODEL = ModelIdentity(id="01", weights="ab", branch="student", dim=8, name="udon")


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch) -> Vectors:
    """Fifty images, in blocks of sixteen; the name of one is no UTF-8."""
    monkeypatch.setattr(search_vectors, "_BLOCK", 16)
    rows_ND = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    rows_ND /= np.linalg.norm(rows_ND, axis=1, keepdims=True)
    paths = [f"cars/{number} é.jpg" for number in range(49)] + ["\udcff.jpg"]
    return Vectors(vectors=rows_ND, paths=paths, model=MODEL, root="/photos")


def nearest(vectors: Vectors, row: int) -> tuple[list[int], np.ndarray]:
    scores_N = vectors.vectors @ vectors.vectors[row]
    best = np.argsort(-scores_N)[:5]
    return best.tolist(), scores_N[best]


def test_qdrant_finds_what_udonx_finds(vectors: Vectors, tmp_path: Path) -> None:
    """The folder opens in Qdrant's local mode: ids, paths and inner products are ours."""
    from qdrant_client import QdrantClient

    export_vectors(vectors, "qdrant", tmp_path / "out")
    client = QdrantClient(path=str(tmp_path / "out"))
    assert client.count("images").count == 50
    for row in (0, 20, 49):
        found = client.query_points("images", query=vectors.vectors[row].tolist(), limit=5).points
        rows, scores = nearest(vectors, row)
        assert [point.id for point in found] == rows
        np.testing.assert_allclose([point.score for point in found], scores, atol=1e-6)
        if row < 49:
            assert found[0].payload == {"path": vectors.paths[row]}
    other = QdrantClient(":memory:")
    client.migrate(other)  # as to a server
    moved, _ = other.scroll("images", limit=50, with_vectors=True)
    np.testing.assert_array_equal(
        np.array([point.vector for point in moved], np.float32), vectors.vectors
    )
    client.close()


def test_lancedb_finds_what_udonx_finds(vectors: Vectors, tmp_path: Path) -> None:
    """The folder opens as a LanceDB database: its table has every vector, in order, bit for bit."""
    import lancedb

    export_vectors(vectors, "lancedb", tmp_path / "out")
    table = lancedb.connect(str(tmp_path / "out")).open_table("images")
    kept = table.to_arrow()
    assert kept.column_names == ["id", "path", "vector"]
    order = np.argsort(kept["id"].to_numpy())
    np.testing.assert_array_equal(
        np.array(kept["vector"].to_pylist(), np.float32)[order], vectors.vectors
    )
    assert kept["path"].to_pylist()[: len(vectors) - 1] == vectors.paths[:-1]
    for row in (0, 20, 49):
        found = table.search(vectors.vectors[row]).distance_type("dot").limit(5).to_list()
        assert [each["id"] for each in found] == nearest(vectors, row)[0]


def test_parquet_is_a_folder_of_vectors(vectors: Vectors, tmp_path: Path) -> None:
    """`Vectors.open` reads it again, and so does whatever reads Parquet."""
    export_vectors(vectors, "parquet", tmp_path / "out")
    kept = Vectors.open(tmp_path / "out")
    np.testing.assert_array_equal(kept.vectors, vectors.vectors)
    assert (kept.paths, kept.model) == (vectors.paths, MODEL)


@pytest.mark.parametrize("engine", ["qdrant", "lancedb"])
def test_the_model_goes_with_an_export(vectors: Vectors, tmp_path: Path, engine: str) -> None:
    """`udonx.json` beside the engine's files says what the vectors are."""
    export_vectors(vectors, engine, tmp_path / "out")
    about = read_json(tmp_path / "out" / "udonx.json", dict)
    assert ModelIdentity(**about["model"]) == MODEL
    assert (about["count"], about["root"], about["name"]) == (50, "/photos", "images")


def test_index_export_writes_for_an_engine(
    vectors: Vectors, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """`udonx index DIR... --out OUT --export parquet` puts folders and indexes together; options
    that make an index, and vectors of another model, are refused.
    """
    vectors.save(tmp_path / "v")
    half = attrs.evolve(vectors, vectors=vectors.vectors[:9], paths=vectors.paths[:9])
    udonx.Index(attrs.evolve(half, root="/more")).save(tmp_path / "index")
    folders, out = [str(tmp_path / "v"), str(tmp_path / "index")], str(tmp_path / "out")
    assert main(["index", *folders, "--out", out, "--export", "parquet"]) == 0
    assert "out: 59 vectors of udon (student 8; weights ab), for parquet" in capsys.readouterr().err
    kept = Vectors.open(out)
    assert len(kept) == 59 and {"photos/cars/0 é.jpg", "more/cars/0 é.jpg"} <= set(kept.paths)
    attrs.evolve(half, model=attrs.evolve(MODEL, weights="cd")).save(tmp_path / "other")
    for arguments, sentence in (
        ([*folders, "--add", "--kind", "exact"], "it cannot go with --kind, --add; make the index"),
        ([folders[0], str(tmp_path / "other")], "which cannot be compared with those of"),
        ([], "no folder is given; give folders of vectors"),
    ):
        options = ["--out", str(tmp_path / "new"), "--export", "lancedb"]
        assert main(["index", *arguments, *options]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_refusals(vectors: Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that holds something, another engine, and a missing extra: one sentence each, and
    nothing written.
    """
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    for engine in ("qdrant", "lancedb", "parquet"):
        with pytest.raises(VectorsError, match="full is not empty; give a new folder"):
            export_vectors(vectors, engine, tmp_path / "full")
    with pytest.raises(VectorsError, match="--export: got 'milvus', allowed are qdrant, lancedb"):
        export_vectors(vectors, "milvus", tmp_path / "out")
    packages = {"qdrant": "qdrant_client", "lancedb": "lancedb", "parquet": "pyarrow"}
    for engine, package in packages.items():
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            sentence = rf"needs the package {package}: pip install 'udonx\[{engine}\]'"
            with pytest.raises(MissingExtraError, match=sentence):
                export_vectors(vectors, engine, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["full"]

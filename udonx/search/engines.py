"""Vectors for search engines beyond one machine: Qdrant, LanceDB, and whatever reads Parquet.

Each export is a folder: what the engine opens by itself, and `udonx.json`, which says what the
vectors are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import attrs
import numpy as np

from udonx.common.extras import import_extra
from udonx.common.files import atomic_folder
from udonx.common.json_files import write_json
from udonx.common.words import display_path
from udonx.search.index import Index, open_vectors
from udonx.search.vectors import (
    Vectors,
    VectorsError,
    arrow_batches,
    arrow_schema,
    check_form,
    text_path,
)

Engine = Literal["qdrant", "lancedb", "parquet"]

NAME = "images"
"""Of the collection, or table, that holds the vectors."""


def export_vectors(
    source: Vectors | Index | str | Path | Sequence[str | Path], engine: Engine, out: str | Path
) -> Vectors:
    """Write vectors into a folder that a search engine opens.

    "qdrant" gives a folder of Qdrant's local mode, with a collection `images`: inner product, the
    path as payload. "lancedb" gives a LanceDB database with a table `images` of id, path and
    vector. "parquet" gives a folder of vectors in that form, which `Vectors.open` reads again.

    Args:
        source: vectors, an index, or folders of these, all of one model.
        engine: "qdrant", "lancedb" or "parquet".
        out: a new or empty folder; it is written whole or not at all.

    Returns:
        What was exported; the id of an image is its row.

    Raises:
        VectorsError: an unknown engine, vectors of several models, or `out` holds something.
        MissingExtraError: the engine's package is not installed.

    Example:
        >>> import tempfile
        >>> from udonx.search.vectors import ModelIdentity
        >>> model = ModelIdentity(id="0123", weights="4567", branch="student", dim=2)
        >>> kept = Vectors(vectors=np.eye(2), paths=["a.jpg", "b.jpg"], model=model, root="photos")
        >>> folder = Path(tempfile.mkdtemp()) / "parquet"
        >>> len(export_vectors(kept, "parquet", folder))
        2
        >>> Vectors.open(folder).paths
        ['a.jpg', 'b.jpg']
    """
    if engine not in get_args(Engine):
        allowed = ", ".join(get_args(Engine))
        raise VectorsError(f"--export: got {engine!r}, allowed are {allowed}")
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VectorsError(f"{display_path(out)} is not empty; give a new folder")
    if engine == "parquet":
        check_form("parquet", "float32")
        vectors = _opened(source)
        vectors.save(out, storage="parquet")
        return vectors
    write = _WRITERS[engine]
    package = {"qdrant": "qdrant_client", "lancedb": "lancedb"}[engine]
    module = import_extra(package, engine, f"--export {engine}")
    vectors = _opened(source)
    with atomic_folder(out) as folder:
        write(module, vectors, folder)
        about = {"count": len(vectors), "root": os.path.abspath(vectors.root), "name": NAME}
        write_json(folder / "udonx.json", {"model": attrs.asdict(vectors.model), **about})
    return vectors


def _opened(source: Vectors | Index | str | Path | Sequence[str | Path]) -> Vectors:
    if isinstance(source, Vectors | Index | str | Path):
        return open_vectors(source)
    if not source:
        raise VectorsError("no folder is given; give folders of vectors, which `udonx embed` makes")
    first, *others = source
    if not others:
        return open_vectors(first)
    joined = Index(open_vectors(first), "exact")
    for folder in others:
        joined.add(open_vectors(folder))
    return joined.vectors


def _write_qdrant(qdrant: Any, vectors: Vectors, folder: Path) -> None:
    client = qdrant.QdrantClient(path=str(folder))
    try:
        # of unit vectors the inner product is the cosine, and Qdrant keeps them as they are
        sizes = qdrant.models.VectorParams(
            size=vectors.model.dim, distance=qdrant.models.Distance.DOT
        )
        client.create_collection(NAME, vectors_config=sizes)
        start = 0
        for block_BD in _float32_blocks(vectors):
            stop = start + len(block_BD)
            client.upload_collection(
                NAME,
                vectors=block_BD,
                payload=[{"path": text_path(path)} for path in vectors.paths[start:stop]],
                ids=list(range(start, stop)),
            )
            start = stop
    finally:
        client.close()


def _write_lancedb(lancedb: Any, vectors: Vectors, folder: Path) -> None:
    pyarrow = import_extra("pyarrow", "lancedb", "--export lancedb")
    schema = arrow_schema(vectors.model.dim, np.dtype(np.float32))
    batches = arrow_batches(_float32_blocks(vectors), vectors.paths, schema)
    reader = pyarrow.RecordBatchReader.from_batches(schema, batches)
    lancedb.connect(str(folder)).create_table(NAME, data=reader)


def _float32_blocks(vectors: Vectors) -> Iterator[np.ndarray]:
    return (np.ascontiguousarray(block_BD, dtype=np.float32) for block_BD in vectors.blocks())


_WRITERS: dict[Engine, Callable[[Any, Vectors, Path], None]] = {
    "qdrant": _write_qdrant,
    "lancedb": _write_lancedb,
}

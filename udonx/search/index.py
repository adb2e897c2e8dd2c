"""`Index`: vectors of one model that are searched, changed and kept in a folder.

The folder holds `index.json` and, in a folder that it names, the vectors and the structure of an
approximate search. A change is written beside the old state, and `index.json` is replaced last.

Shapes: Q queries, N index rows, D dimensions, K neighbours, B rows of a block.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal, cast

import attrs
import numpy as np
import torch

from udonx.common.files import DamagedFileError, sweep
from udonx.common.json_files import read_json, write_json
from udonx.common.words import display_path
from udonx.evaluation.knn import ExactSearch, as_matrix
from udonx.search.approximate import LEAST, ApproximateSearch, Recall
from udonx.search.vectors import (
    DTypeName,
    ModelIdentity,
    StoredFile,
    Vectors,
    VectorsError,
    check_same_model,
)

Kind = Literal["exact", "hnsw", "ivfpq"]
"""How an index is searched: exactly, or with one of faiss's approximate structures."""

MOST_EXACT = 500_000
"""Up to so many vectors an index is exact where nobody says its kind."""
MOST_HNSW = 5_000_000
"""Up to so many it is HNSW, whose file holds a copy of the vectors; above it is IVF-PQ."""
DEFAULT_K = 10
"""Neighbours of a query where nobody says how many."""
FORMAT = 1
"""Of the folder's layout; a reader refuses a later one."""

_MANIFEST, _VECTORS, _STRUCTURE = "index.json", "vectors", "structure.faiss"
_STATE = "state-"  # how the folders that hold vectors and structure are called
_REBUILD = "build it again with `udonx index`"
_BLOCK = 2**13  # rows that are looked at at once
_SLACK = 5e-3  # float16 rounds the length of a vector


@attrs.frozen
class Neighbour:
    """An image of the index that a query found.

    Attributes:
        path: the image's file.
        score: cosine similarity to the query.
        row: its place in the index.
    """

    path: Path
    score: float
    row: int


@attrs.frozen(eq=False)
class Neighbours:
    """What the queries of a search found: by position, a list of neighbours, best first.

    Attributes:
        scores: cosine similarities, float32 [Q, K].
        rows: places in the index, int64 [Q, K]; -1 where an approximate search found fewer.
        vectors: what was searched.
    """

    scores: np.ndarray
    rows: np.ndarray
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, query: int) -> list[Neighbour]:
        return [
            Neighbour(self.vectors.root / self.vectors.paths[row], float(score), int(row))
            for row, score in zip(self.rows[query], self.scores[query], strict=True)
            if row >= 0
        ]

    def __iter__(self) -> Iterator[list[Neighbour]]:
        return (self[query] for query in range(len(self)))


@attrs.frozen(kw_only=True)
class _Manifest:
    """index.json.

    Attributes:
        format: version of the layout.
        kind: how the index is searched.
        count: how many vectors there are.
        dim: their length.
        model: what embedded the images.
        state: the folder with vectors and structure.
        structure: the file of the structure; None of an exact index.
        recall: of the structure; None of an exact index.
    """

    format: int
    kind: Kind
    count: int
    dim: int
    model: ModelIdentity
    state: str
    structure: StoredFile | None = None
    recall: Recall | None = None


class Index:
    """Images that are searched by their vectors, all of one model.

    Args:
        vectors: of the images.
        kind: how they are searched: "exact", "hnsw", "ivfpq"; default: by their number, exactly up
            to `MOST_EXACT`.

    Attributes:
        vectors: as given and changed since.
        kind: how they are searched.

    Raises:
        VectorsError: there are none, too few for this kind, or rows that have no unit length.

    Example:
        >>> import tempfile
        >>> from udonx.search.vectors import ModelIdentity, Vectors
        >>> model = ModelIdentity(id="0123", weights="4567", branch="student", dim=2)
        >>> vectors_ND = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> images = ["a.jpg", "b.jpg", "c.jpg"]
        >>> index = Index(Vectors(vectors=vectors_ND, paths=images, model=model, root="/photos"))
        >>> [(found.path.name, found.score) for found in index.search(np.array([[0.0, 1.0]]), 2)[0]]
        [('b.jpg', 1.0), ('c.jpg', 0.800000011920929)]
        >>> index.remove(["b.jpg"])
        1
        >>> index.save(Path(tempfile.gettempdir(), "index"))
        >>> Index.load(Path(tempfile.gettempdir(), "index"))
        Index(2 vectors of 0123 (student 2; weights 4567), exact)
    """

    def __init__(self, vectors: Vectors, kind: Kind | None = None) -> None:
        _check_vectors(vectors)
        self.vectors = vectors
        self.kind = _chosen_kind(kind, len(vectors))
        self._search: ExactSearch | ApproximateSearch | None = None
        self._recall: Recall | None = None

    @classmethod
    def build(cls, vectors: Vectors | str | Path, kind: Kind | None = None) -> Index:
        """Build an index, its approximate structure too.

        Args:
            vectors: of the images, or the folder that `udonx embed` wrote.
            kind: as for `Index`.
        """
        index = cls(vectors if isinstance(vectors, Vectors) else Vectors.open(vectors), kind)
        index._prepare()
        return index

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return f"Index({len(self)} vectors of {self.model}, {self.kind})"

    @property
    def model(self) -> ModelIdentity:
        """What embedded the images."""
        return self.vectors.model

    @property
    def recall(self) -> Recall | None:
        """What an approximate index finds of the true neighbours; None of an exact one."""
        self._prepare()
        return self._recall

    def search(
        self, queries: Vectors | Index | np.ndarray | torch.Tensor, k: int | None = None
    ) -> Neighbours:
        """Find the nearest images of each query.

        Args:
            queries: vectors; or float [Q, D] that the index's own model gave, rows of unit length.
            k: neighbours of each query; default: 10, or as many as there are.

        Returns:
            The neighbours by query; among equal scores the lower row comes first.

        Raises:
            VectorsError: queries of another model or width, or k beyond the size of the index.
        """
        k = min(DEFAULT_K, len(self)) if k is None else k
        if not 1 <= k <= len(self):
            raise VectorsError(f"k: got {k}, allowed is 1 to {len(self)}, the size of the index")
        if isinstance(queries, Index):
            queries = queries.vectors
        if isinstance(queries, Vectors):
            check_same_model(queries.model, self.model, "the index")
            queries = queries.vectors
        queries_QD = as_matrix("queries", queries)
        if queries_QD.shape[1] != self.model.dim:
            raise VectorsError(
                f"queries have {queries_QD.shape[1]} dimensions, the index {self.model.dim}: embed"
                f" them with {self.model}"
            )
        scores_QK, rows_QK = self._prepare().search(queries_QD, k)
        return Neighbours(scores_QK, rows_QK, self.vectors)

    def add(self, vectors: Vectors | Index) -> int:
        """Add images; those that the index has already get the new vectors.

        An approximate structure is built anew when the index is searched or saved next.

        Args:
            vectors: of the same model.

        Returns:
            How many images are new.

        Raises:
            VectorsError: vectors of another model.
        """
        added = vectors.vectors if isinstance(vectors, Index) else vectors
        check_same_model(added.model, self.model, "the index")
        _check_vectors(added)
        new = {os.path.normpath(file) for file in added.files}
        kept = [os.path.normpath(file) not in new for file in self.vectors.files]
        self._change(_joined(_selected(self.vectors, np.array(kept)), added))
        return len(added) - kept.count(False)

    def remove(self, paths: Collection[str]) -> int:
        """Remove images by their paths below the root.

        An approximate structure is built anew when the index is searched or saved next.

        Args:
            paths: as in `vectors.paths`.

        Returns:
            How many there were.

        Raises:
            VectorsError: none would be left.
        """
        paths = set(paths)
        kept_N = np.array([path not in paths for path in self.vectors.paths])
        if not kept_N.any():
            raise VectorsError("no image would be left in the index: delete its folder instead")
        if not kept_N.all():
            self._change(_selected(self.vectors, kept_N))
        return int((~kept_N).sum())

    def save(self, folder: str | Path) -> None:
        """Write the index into a folder: a new one, an empty one, or that of another index.

        A process that is killed meanwhile leaves what the folder held before.

        Raises:
            VectorsError: the folder holds something else.
        """
        folder = Path(folder)
        if folder.exists() and not _may_be_written(folder):
            raise VectorsError(
                f"{display_path(folder)} holds something else than an index; give a new folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        state = folder / f"{_STATE}{secrets.token_hex(8)}"
        search = self._prepare()
        try:
            dtype = cast(DTypeName, np.dtype(self.vectors.vectors.dtype).name)
            narrow: DTypeName = dtype if dtype == "float16" else "float32"
            self.vectors.save(state / _VECTORS, dtype=narrow)
            structure = None
            if isinstance(search, ApproximateSearch):
                search.write(state / _STRUCTURE)
                structure = StoredFile.of(state / _STRUCTURE)
            manifest = _Manifest(
                format=FORMAT,
                kind=self.kind,
                count=len(self),
                dim=self.model.dim,
                model=self.model,
                state=state.name,
                structure=structure,
                recall=self._recall,
            )
            write_json(folder / _MANIFEST, attrs.asdict(manifest))
        except BaseException:
            shutil.rmtree(state, ignore_errors=True)
            raise
        # a process that searches the old state has it open, and goes on
        for old in folder.glob(f"{_STATE}*"):
            if old != state:
                shutil.rmtree(old, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool = True) -> Index:
        """Read an index; its vectors stay on disk, mapped into memory.

        Args:
            folder: where `save` wrote it.
            verify: compare all bytes with what was written. faiss trusts what it reads: leave it
                out only where nobody else could write.

        Raises:
            VectorsError: it is no index, or of a later version.
            DamagedFileError: it is not what was written.
        """
        folder = Path(folder)
        manifest = _read_manifest(folder)
        state = folder / manifest.state
        try:
            vectors = Vectors.open(state / _VECTORS)
            if verify:
                Vectors.verify(state / _VECTORS)
        except DamagedFileError as error:
            raise DamagedFileError(error.path, error.why, _REBUILD) from None
        if (len(vectors), vectors.model) != (manifest.count, manifest.model):
            raise DamagedFileError(state, "is not what index.json says", _REBUILD)
        index = cls.__new__(cls)  # what was checked when it was built is not looked at again
        index.vectors, index.kind, index._recall = vectors, manifest.kind, manifest.recall
        index._search = None
        if manifest.kind != "exact":
            file = state / _STRUCTURE
            if not file.is_file() or (verify and StoredFile.of(file) != manifest.structure):
                raise DamagedFileError(file, "is not what was written", _REBUILD)
            index._search = ApproximateSearch.read(file, vectors.vectors, manifest.kind)
        return index

    def _prepare(self) -> ExactSearch | ApproximateSearch:
        """What searches the vectors as they are now."""
        if self._search is None:
            if self.kind == "exact":
                self._search = ExactSearch(self.vectors.vectors)
            else:
                self._search, self._recall = ApproximateSearch.build(
                    self.kind, self.vectors.vectors
                )
        return self._search

    def _change(self, vectors: Vectors) -> None:
        least = 0 if self.kind == "exact" else LEAST[self.kind]
        self.vectors, self._search, self._recall = vectors, None, None
        if len(vectors) < least:
            self.kind = "exact"


def is_index(folder: Path) -> bool:
    """Whether a folder holds an index."""
    return (folder / _MANIFEST).is_file()


def open_vectors(index: Index | Vectors | str | Path) -> Vectors:
    """The vectors of an index, or of a folder that holds an index or vectors."""
    if isinstance(index, Vectors):
        return index
    if isinstance(index, Index):
        return index.vectors
    return Index.load(index).vectors if is_index(Path(index)) else Vectors.open(index)


def _read_manifest(folder: Path) -> _Manifest:
    file = folder / _MANIFEST
    where = display_path(folder)
    if not file.is_file():
        raise VectorsError(
            f"{where} is no index: it has no {_MANIFEST}; make one with `udonx index DIR --out"
            " INDEX`"
        )
    found = read_json(file, dict[str, Any], _REBUILD).get("format")
    if found != FORMAT:
        raise VectorsError(
            f"{where} has format {found}, and this udonx reads {FORMAT}: install a newer udonx"
        )
    manifest = read_json(file, _Manifest, _REBUILD)
    # a folder in the index, never one that a path leads to
    if not manifest.state.startswith(_STATE) or "/" in manifest.state:
        raise DamagedFileError(file, "does not hold what was written", _REBUILD)
    return manifest


def _may_be_written(folder: Path) -> bool:
    """Whether a folder is an index, or what a killed `save` left of one, or empty."""
    return folder.is_dir() and all(
        entry.name == _MANIFEST or entry.name.startswith((_STATE, "."))
        for entry in folder.iterdir()
    )


def _chosen_kind(kind: Kind | None, count: int) -> Kind:
    """The kind of an index of so many vectors.

    >>> _chosen_kind(None, 1000), _chosen_kind(None, 1_000_000), _chosen_kind("hnsw", 1000)
    ('exact', 'hnsw', 'hnsw')
    """
    if kind is None:
        return "exact" if count <= MOST_EXACT else "hnsw" if count <= MOST_HNSW else "ivfpq"
    allowed = ("exact", *LEAST)
    if kind not in allowed:
        raise VectorsError(f"kind: got {kind!r}, allowed are {', '.join(allowed)}")
    if kind != "exact" and count < LEAST[kind]:
        raise VectorsError(
            f"kind {kind} needs at least {LEAST[kind]:,} vectors, got {count:,}: take exact, which"
            " is as fast here"
        )
    return kind


def _check_vectors(vectors: Vectors) -> None:
    """Refuse what inner products say nothing about.

    Raises:
        VectorsError: there are no vectors, or some have another length than 1.
    """
    if not len(vectors):
        raise VectorsError("there are no vectors: embed some images first")
    for start in range(0, len(vectors), _BLOCK):
        block_BD = vectors.vectors[start : start + _BLOCK].astype(np.float32)
        lengths_B = np.linalg.norm(block_BD, axis=1)
        wrong_B = ~(np.abs(lengths_B - 1) <= _SLACK)  # NaN too
        if wrong_B.any():
            first = int(wrong_B.argmax())
            raise VectorsError(
                f"the vector of {vectors.paths[start + first]} has length"
                f" {lengths_B[first]:.3g}, and must have length 1: divide it by its length"
            )


def _selected(vectors: Vectors, kept_N: np.ndarray) -> Vectors:
    """Some of the vectors, in their order."""
    if kept_N.all():
        return vectors
    return attrs.evolve(
        vectors,
        vectors=vectors.vectors[kept_N],
        paths=[path for path, kept in zip(vectors.paths, kept_N, strict=True) if kept],
    )


def _joined(first: Vectors, second: Vectors) -> Vectors:
    """Vectors of two roots under the folder that both lie in."""
    root = Path(os.path.commonpath([os.path.abspath(first.root), os.path.abspath(second.root)]))
    paths = [
        os.path.relpath(file, root)
        for file in [os.path.abspath(file) for file in (*first.files, *second.files)]
    ]
    dtype = np.result_type(first.vectors, second.vectors)
    joined_ND = np.empty((len(paths), first.model.dim), dtype)
    joined_ND[: len(first)], joined_ND[len(first) :] = first.vectors, second.vectors
    return attrs.evolve(first, vectors=joined_ND, paths=paths, root=root)

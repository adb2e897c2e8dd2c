"""Vectors of images in a folder, with the model that made them.

The folder holds `vectors.json` (what the vectors are), the vectors themselves (`vectors.npy`,
`vectors.parquet` or `vectors.safetensors`), and `images.jsonl`, a line for each of them.

Shape suffixes: N images, D dimensions, B rows of a block.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import attrs
import numpy as np

from udonx.common.errors import REFUSED, UdonxError
from udonx.common.extras import import_extra
from udonx.common.files import (
    DamagedFileError,
    atomic_folder,
    naming,
    open_regular,
    sha256_file,
)
from udonx.common.json_files import read_json, write_json
from udonx.common.words import display_path
from udonx.engine.model_identity import ModelIdentity

__all__ = ["DTypeName", "ImageFile", "ModelIdentity", "Storage", "Vectors", "VectorsError"]

Storage = Literal["npy", "parquet", "safetensors"]
DTypeName = Literal["float32", "float16"]
FORMAT = 1
"""Of the folder's layout; a reader refuses a later one."""

_MANIFEST, _IMAGES, _READY = "vectors.json", "images.jsonl", "ready"
_BLOCK = 2**13  # rows that are written at once
_AGAIN = "the same `udonx embed` with --overwrite makes it again"


class VectorsError(UdonxError, ValueError):
    """A folder of vectors that is none, or that cannot be used as it was asked to be."""

    exit_code = REFUSED


@attrs.frozen
class ImageFile:
    """An image of which there is a vector, and what tells whether it has changed since.

    Attributes:
        path: below the root of the images, with "/".
        size: bytes of the file; None where nobody looked.
        time: of its last change, in nanoseconds; None where nobody looked.
    """

    path: str
    size: int | None = None
    time: int | None = None


@attrs.frozen
class StoredFile:
    """What a file of the folder is: its size in bytes and its sha256."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> StoredFile:
        """A file as it is now."""
        return cls(path.stat().st_size, sha256_file(path))


@attrs.frozen(kw_only=True)
class Manifest:
    """vectors.json: what the vectors in a folder are.

    Attributes:
        format: version of the layout.
        model: what embedded the images.
        dim: length of a vector.
        dtype: "float32" or "float16".
        count: how many vectors there are.
        root: the absolute folder that the images' paths start from.
        storage: the form of the vectors: "npy", "parquet" or "safetensors".
        files: the files that hold them, by name.
        unreadable: images that could not be read, and have no vector.
    """

    format: int
    model: ModelIdentity
    dim: int
    dtype: str
    count: int
    root: str
    storage: str
    files: dict[str, StoredFile]
    unreadable: int = 0


@attrs.frozen(eq=False, kw_only=True)
class Vectors:
    """Vectors of images, and what made them.

    Attributes:
        vectors: float32 or float16 [N, D], rows of unit length; mapped into memory where they were
            opened from `vectors.npy`.
        paths: N paths of images, below `root`.
        model: what embedded the images. Vectors of models that are not equal cannot be compared.
        root: the folder that the paths start from.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "vectors"
        >>> model = ModelIdentity(id="0123", weights="4567", branch="student", dim=2)
        >>> kept = Vectors(vectors=np.eye(2), paths=["a.jpg", "b.jpg"], model=model, root="photos")
        >>> kept.save(folder)
        >>> Vectors.open(folder).vectors.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    vectors: np.ndarray
    paths: Sequence[str]
    model: ModelIdentity
    root: Path = attrs.field(converter=Path)

    def __attrs_post_init__(self) -> None:
        if self.vectors.shape != (len(self.paths), self.model.dim):
            raise VectorsError(
                f"vectors of {len(self.paths)} paths by a model of {self.model.dim} dimensions"
                f" must have the shape {[len(self.paths), self.model.dim]}, got"
                f" {list(self.vectors.shape)}"
            )

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def files(self) -> list[Path]:
        """Where the N images lie."""
        return [self.root / path for path in self.paths]

    def blocks(self) -> Iterator[np.ndarray]:
        """The vectors a block [B, D] at a time, so that few are in memory at once."""
        for start in range(0, len(self), _BLOCK):
            yield self.vectors[start : start + _BLOCK]

    @classmethod
    def open(cls, folder: str | Path) -> Vectors:
        """The vectors of a folder.

        The sizes of its files are looked at, and `images.jsonl` is read whole; `verify` looks at
        every vector.

        Raises:
            VectorsError: it is no folder of vectors.
            DamagedFileError: something in it is not what was written.
            MissingExtraError: it holds Parquet, and pyarrow is not installed.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        images = read_images(folder, manifest)
        vectors_ND = _READERS[manifest.storage](folder / vectors_file(manifest.storage))
        if vectors_ND.shape != (manifest.count, manifest.dim) or vectors_ND.dtype != manifest.dtype:
            raise DamagedFileError(
                folder / vectors_file(manifest.storage), "does not hold what was written", _AGAIN
            )
        return cls(
            vectors=vectors_ND,
            paths=[image.path for image in images],
            model=manifest.model,
            root=Path(manifest.root),
        )

    def save(
        self, folder: str | Path, *, storage: Storage = "npy", dtype: DTypeName = "float32"
    ) -> None:
        """Write the vectors into a folder, which must be new or empty.

        Args:
            folder: where; it is written whole or not at all.
            storage: "npy" can be mapped into memory, "parquet" has id, path and vector in columns.
            dtype: "float16" takes half the space.

        Raises:
            VectorsError: the folder holds something.
            MissingExtraError: Parquet is asked for, and pyarrow is not installed.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise VectorsError(f"{display_path(folder)} is not empty; give a new folder")
        images = [ImageFile(path) for path in self.paths]
        write_vectors(
            folder, self.blocks(), images, self.model, self.root, storage=storage, dtype=dtype
        )

    @staticmethod
    def verify(folder: str | Path) -> None:
        """Read all files of a folder, and compare them with what was written.

        Raises:
            VectorsError: it is no folder of vectors.
            DamagedFileError: a file is not what was written.
        """
        folder = Path(folder)
        for name, written in read_manifest(folder).files.items():
            if StoredFile.of(folder / name) != written:
                raise DamagedFileError(
                    folder / name, "is damaged: it is not what was written", _AGAIN
                )


def check_same_model(got: ModelIdentity, expected: ModelIdentity, where: str) -> None:
    """Refuse vectors of another model.

    Args:
        got: what made the vectors, or would make them.
        expected: what they are to be used with.
        where: what holds the vectors of `expected`, as the sentence begins.

    Raises:
        VectorsError: the two are not equal.
    """
    if got != expected:
        raise VectorsError(
            f"{where} holds vectors of {expected}, which cannot be compared with those of {got}:"
            f" use {expected.source or expected.name or expected.id}, or embed the images again"
        )


# ---------------------------------------------------------------------------------- the folder


def vectors_file(storage: str) -> str:
    """The name of the file that holds the vectors."""
    return f"vectors.{storage}"


def is_vectors(folder: Path) -> bool:
    """Whether a folder holds vectors, whole or interrupted while they were put there."""
    return (folder / _MANIFEST).is_file() or (folder / _READY).is_dir()


def read_manifest(folder: Path) -> Manifest:
    """What vectors.json says; the sizes of the files that it names are compared.

    Raises:
        VectorsError: there is none, or it is of a later version.
        DamagedFileError: it, or a file that it names, is not what was written.
    """
    where = display_path(folder)
    if (folder / _READY).is_dir():
        raise VectorsError(
            f"{where}: udonx was stopped while it put new vectors there; the same `udonx embed`"
            " finishes it"
        )
    file = folder / _MANIFEST
    if not file.is_file():
        raise VectorsError(
            f"{where} is no folder of vectors: it has no {_MANIFEST}; make it with `udonx embed"
            " STAGE PATHS... --out DIR`"
        )
    found = read_json(file, dict[str, Any], _AGAIN).get("format")
    if found != FORMAT:
        raise VectorsError(
            f"{where} has format {found}, and this udonx reads {FORMAT}: install a newer udonx"
        )
    manifest = read_json(file, Manifest, _AGAIN)
    for name, written in manifest.files.items():
        try:
            size = (folder / name).stat().st_size
        except FileNotFoundError:
            raise DamagedFileError(folder / name, "is missing", _AGAIN) from None
        if size != written.size:
            raise DamagedFileError(
                folder / name, f"has {size:,} bytes, not {written.size:,}", _AGAIN
            )
    return manifest


def read_images(folder: Path, manifest: Manifest) -> list[ImageFile]:
    """The images of a folder, in the order of their vectors.

    Raises:
        DamagedFileError: they are not what was written.
    """
    file = folder / _IMAGES
    if StoredFile.of(file) != manifest.files.get(_IMAGES):
        raise DamagedFileError(file, "is damaged: it is not what was written", _AGAIN)
    with open_regular(file) as lines:
        images = [ImageFile(**json.loads(line)) for line in lines]
    if len(images) != manifest.count:
        raise DamagedFileError(file, f"has {len(images)} lines, not {manifest.count}", _AGAIN)
    return images


def write_vectors(
    folder: Path,
    blocks: Iterable[np.ndarray],
    images: Sequence[ImageFile],
    model: ModelIdentity,
    root: Path,
    *,
    storage: Storage,
    dtype: DTypeName,
    unreadable: int = 0,
) -> None:
    """Write a folder of vectors, in place of those that it holds.

    The new files are made whole in a folder of their own first. A process that is killed after that
    leaves them there for `install`; one that is killed before it leaves the old ones untouched.

    Args:
        folder: where.
        blocks: the vectors, float [B, D] each, N in all.
        images: the N images.
        model: what embedded them.
        root: the folder that their paths start from.
        storage: the form of the vectors.
        dtype: their type in the file.
        unreadable: images that have no vector.
    """
    check_form(storage, dtype)
    rows = _Blocks(blocks, images, model.dim, np.dtype(dtype))
    name = vectors_file(storage)
    with atomic_folder(folder / _READY) as ready:
        with naming(folder / name):
            _WRITERS[storage](ready / name, rows)
        with naming(folder / _IMAGES), open(ready / _IMAGES, "w") as lines:
            for image in images:
                lines.write(json.dumps(attrs.asdict(image)) + "\n")
        manifest = Manifest(
            format=FORMAT,
            model=model,
            dim=model.dim,
            dtype=dtype,
            count=len(images),
            root=os.path.abspath(root),
            storage=storage,
            files={file: StoredFile.of(ready / file) for file in (name, _IMAGES)},
            unreadable=unreadable,
        )
        for file in manifest.files:
            _sync(ready / file)
        write_json(ready / _MANIFEST, attrs.asdict(manifest))
    install(folder)


def install(folder: Path) -> None:
    """Put new vectors in the place of the old ones, where they are ready."""
    ready = folder / _READY
    if not ready.is_dir():
        return
    # the manifest last: until then a reader is told that the folder is being written
    for file in sorted(ready.iterdir(), key=lambda file: file.name == _MANIFEST):
        os.replace(file, folder / file.name)
    ready.rmdir()


def clear(folder: Path) -> None:
    """Remove the vectors of a folder, and nothing else."""
    names = [_MANIFEST, _IMAGES, *(vectors_file(storage) for storage in get_args(Storage))]
    for name in names:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / _READY, ignore_errors=True)


def _sync(path: Path) -> None:
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())


def check_form(storage: str, dtype: str) -> None:
    """Refuse a form that there is not, or whose extra is not installed.

    Raises:
        VectorsError: an unknown form or type.
        MissingExtraError: Parquet without pyarrow.
    """
    _check_choice("--format", storage, get_args(Storage))
    _check_choice("--dtype", dtype, get_args(DTypeName))
    if storage == "parquet":
        import_extra("pyarrow", "parquet", "--format parquet")


def _check_choice(option: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise VectorsError(f"{option}: got {value!r}, allowed are {', '.join(allowed)}")


# ----------------------------------------------------------------------------------- the forms


@attrs.frozen
class _Blocks:
    """Vectors on their way into a file.

    Attributes:
        blocks: float [B, D] each.
        images: the N images.
        dim: D.
        dtype: of the file.
    """

    blocks: Iterable[np.ndarray]
    images: Sequence[ImageFile]
    dim: int
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.images), self.dim

    def __iter__(self) -> Iterator[np.ndarray]:
        for block_BD in self.blocks:
            yield np.ascontiguousarray(block_BD, dtype=self.dtype)


def _write_npy(path: Path, rows: _Blocks) -> None:
    with open(path, "wb") as handle:
        header = {"descr": rows.dtype.str, "fortran_order": False, "shape": rows.shape}
        np.lib.format.write_array_header_1_0(handle, header)
        _write_bytes(handle, rows)


def _write_safetensors(path: Path, rows: _Blocks) -> None:
    # safetensors' own writer wants the whole array in memory. The format is a length, a JSON header
    # padded to 8 bytes, and the numbers.
    size = rows.shape[0] * rows.shape[1] * rows.dtype.itemsize
    kind = {"float32": "F32", "float16": "F16"}[rows.dtype.name]
    about = {"dtype": kind, "shape": list(rows.shape), "data_offsets": [0, size]}
    header = json.dumps({"vectors": about}).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as handle:
        handle.write(struct.pack("<Q", len(header)) + header)
        _write_bytes(handle, rows)


def _write_bytes(handle: BinaryIO, rows: _Blocks) -> None:
    for block_BD in rows:
        handle.write(block_BD.data if block_BD.size else b"")


def _write_parquet(path: Path, rows: _Blocks) -> None:
    parquet = import_extra("pyarrow.parquet", "parquet", "--format parquet")
    schema = arrow_schema(rows.dim, rows.dtype)
    with parquet.ParquetWriter(path, schema) as writer:
        for batch in arrow_batches(rows, [image.path for image in rows.images], schema):
            writer.write_batch(batch)


def arrow_schema(dim: int, dtype: np.dtype) -> Any:
    """The columns id, path and vector as pyarrow's schema."""
    pyarrow = import_extra("pyarrow", "parquet", "a table of Arrow")
    return pyarrow.schema(
        [
            ("id", pyarrow.int64()),
            ("path", pyarrow.string()),
            ("vector", pyarrow.list_(pyarrow.from_numpy_dtype(dtype), dim)),
        ]
    )


def arrow_batches(blocks: Iterable[np.ndarray], paths: Sequence[str], schema: Any) -> Iterator[Any]:
    """Vectors as pyarrow's record batches.

    Args:
        blocks: [B, D] each, N in all, of the schema's type.
        paths: N paths.
        schema: of `arrow_schema`.
    """
    pyarrow = import_extra("pyarrow", "parquet", "a table of Arrow")
    start = 0
    for block_BD in blocks:
        stop = start + len(block_BD)
        vectors = pyarrow.FixedSizeListArray.from_arrays(
            pyarrow.array(block_BD.reshape(-1)), type=schema.field("vector").type
        )
        ids = pyarrow.array(range(start, stop), pyarrow.int64())
        names = pyarrow.array([text_path(path) for path in paths[start:stop]], pyarrow.string())
        yield pyarrow.RecordBatch.from_arrays([ids, names, vectors], schema=schema)
        start = stop


def text_path(path: str) -> str:
    """A path for a column of text: bytes that are no UTF-8 have no place there."""
    return os.fsencode(path).decode(errors="replace")


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DamagedFileError(path, f"is no array of NumPy ({error})", _AGAIN) from error


def _read_safetensors(path: Path) -> np.ndarray:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)["vectors"]
    except (SafetensorError, KeyError) as error:
        raise DamagedFileError(path, f"is no safetensors file ({error})", _AGAIN) from error


def _read_parquet(path: Path) -> np.ndarray:
    pyarrow = import_extra("pyarrow", "parquet", f"{display_path(path)}")
    parquet = import_extra("pyarrow.parquet", "parquet", f"{display_path(path)}")
    try:
        column = parquet.read_table(path, columns=["vector"])["vector"].combine_chunks()
    except (pyarrow.ArrowException, KeyError) as error:
        why = " ".join(str(error).split())
        raise DamagedFileError(path, f"is no such Parquet file ({why})", _AGAIN) from error
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)


_WRITERS: dict[str, Callable[[Path, _Blocks], None]] = {
    "npy": _write_npy,
    "parquet": _write_parquet,
    "safetensors": _write_safetensors,
}
_READERS: dict[str, Callable[[Path], np.ndarray]] = {
    "npy": _read_npy,
    "parquet": _read_parquet,
    "safetensors": _read_safetensors,
}

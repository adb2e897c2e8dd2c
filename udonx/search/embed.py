"""Images of a user to a folder of vectors, which a process that was killed goes on with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import attrs
import numpy as np

from udonx.common.files import folder_problem, sweep, write_atomic
from udonx.common.interrupts import stoppable
from udonx.common.json_files import append_json_line
from udonx.common.options import as_tuple
from udonx.common.progress import Report
from udonx.common.words import display_path
from udonx.config.plugins import load_plugins
from udonx.config.problems import ConfigError, Problem
from udonx.data.errors import DataError
from udonx.data.images import MAX_PIXELS
from udonx.engine.device import choose, repeatable
from udonx.engine.embed import embed_batches
from udonx.engine.errors import StageError
from udonx.engine.loaded_model import BranchName, LoadedModel, Tta
from udonx.engine.models import open_model
from udonx.search.listing import ImageList, list_images
from udonx.search.partial import PartialVectors
from udonx.search.vectors import (
    DTypeName,
    ImageFile,
    ModelIdentity,
    Storage,
    Vectors,
    VectorsError,
    check_form,
    check_same_model,
    clear,
    install,
    is_vectors,
    read_images,
    read_manifest,
    write_vectors,
)
from udonx.store.lock import StageLock

_PARTIAL = "partial"
UNREADABLE = "unreadable.jsonl"
"""The file of a folder of vectors that lists images without one."""
_BLOCK = 2**13  # vectors that are copied at once


@attrs.frozen(kw_only=True)
class Embedded:
    """What became of the images.

    Attributes:
        folder: where the vectors are: `Vectors.open(folder)`.
        model: what embedded them.
        count: vectors in the folder.
        new: those of them that this call has made.
        unreadable: images without a vector, each with what is wrong with it; they also stand in
            `unreadable.jsonl`.
    """

    folder: Path
    model: ModelIdentity
    count: int
    new: int
    unreadable: dict[str, str]


def embed(
    model: str | Path,
    paths: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    storage: Storage = "npy",
    dtype: DTypeName = "float32",
    branch: BranchName | None = None,
    domain: str | None = None,
    tta: Tta = "none",
    strict: bool = False,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    weights: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    plugins: Sequence[str] = (),
) -> Embedded:
    """Embed images into a folder of vectors.

    A call that was stopped goes on when it is given again. Images that have a vector and have not
    changed since are not embedded again.

    Args:
        model: the folder of a finished stage, an export, or a backbone off the shelf.
        paths: folders, which are searched to any depth, image files, and "@FILE" for a file with
            one path a line.
        out: the folder of vectors.
        storage: the form of the vectors: "npy", "parquet" or "safetensors".
        dtype: "float32", or "float16" at half the size.
        branch: what embeds; default: the student, else what the stage trained.
        domain: whose teacher; needed by a teacher branch of several domains.
        tta: "flip" for the mean of the embeddings of an image and its mirror image.
        strict: end at the first image that cannot be read, in place of leaving it out.
        overwrite: forget the vectors that `out` holds.
        max_pixels: larger images cannot be read.
        weights: the folder where start weights of backbones are looked up first.
        device: `cpu`, `cuda` or `cuda:N`; default: the GPU where there is one.
        workers: threads that decode images.
        plugins: modules or .py files to import first.

    Returns:
        What there is now.

    Raises:
        VectorsError: no image, or `out` holds vectors of another model or of other images.
        StageError: `model` is no model, or lacks the branch.
        DataError: an image cannot be read, with `strict`.

    Example:
        >>> import tempfile, udonx
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for colour in ("red", "blue"):
        ...     Image.new("RGB", (60, 40), colour).save(folder / f"{colour}.png")
        >>> made = udonx.embed("demo:main", folder, out=folder / "vectors", device="cpu")
        >>> made.count, made.new, made.unreadable
        (2, 2, {})
        >>> udonx.Vectors.open(folder / "vectors").paths
        ['blue.png', 'red.png']
    """
    load_plugins(plugins, None, where="--plugin")
    check_form(storage, dtype)
    out = Path(out)
    if message := folder_problem(out):
        raise ConfigError([Problem(where="--out", message=message)])
    given = open_model(model, None if weights is None else Path(weights))
    listed = list_images(as_tuple(paths) if not isinstance(paths, Path) else (paths,))
    _refuse_other_content(out)
    loaded = LoadedModel.of(given, choose(device))
    job = _Job(
        out=out,
        loaded=loaded,
        model=loaded.identity(branch=branch, domain=domain, tta=tta),
        listed=listed,
        storage=storage,
        dtype=dtype,
        strict=strict,
        max_pixels=max_pixels,
        workers=workers,
    )
    lock = StageLock(out / _PARTIAL)
    if not lock.acquire():
        raise VectorsError(
            f"{display_path(out)}: {lock.holder()} is writing there; wait for it, or give another"
            " --out"
        )
    with lock, repeatable(loaded.device), stoppable():
        if overwrite:
            _forget(out)
        try:
            return job.run()
        finally:
            _tidy(out)


def _refuse_other_content(out: Path) -> None:
    """Refuse a folder that holds anything but vectors."""
    there = sorted(file.name for file in out.iterdir()) if out.is_dir() else []
    if there and not is_vectors(out) and not (out / _PARTIAL).is_dir():
        raise VectorsError(
            f"{display_path(out)} is not empty and holds no vectors (it holds"
            f" {', '.join(there[:4])}); give another --out"
        )


def _forget(out: Path) -> None:
    """Remove the vectors of a folder, finished or not."""
    clear(out)
    for file in (out / _PARTIAL).glob("*"):
        if file.name != "lock":
            file.unlink()


def _tidy(out: Path) -> None:
    """Remove folders that hold nothing."""
    partial = out / _PARTIAL
    if not any(file.name != "lock" for file in partial.glob("*")):
        shutil.rmtree(partial, ignore_errors=True)
    if not any(out.iterdir()):
        out.rmdir()


@attrs.frozen(kw_only=True)
class _Job:
    """Images on their way into a folder of vectors; see `embed`."""

    out: Path
    loaded: LoadedModel
    model: ModelIdentity
    listed: ImageList
    storage: Storage
    dtype: DTypeName
    strict: bool
    max_pixels: int
    workers: int | None

    def run(self) -> Embedded:
        """Embed what has no vector yet, then write the folder."""
        install(self.out)
        sweep(self.out)
        kept = self._kept()
        partial = PartialVectors(self.out / _PARTIAL, self.model)
        images = self._absolute(self.listed)
        known = {*kept, *partial.images}
        todo = [image for image in images if image not in known]
        unreadable = self._embed(todo, partial, done=len(images) - len(todo))
        present = {*kept, *partial.images}
        readable = [place for place, image in enumerate(images) if image in present]
        if not readable:
            first = next(iter(unreadable.values()))
            raise VectorsError(f"none of the {len(images)} images can be read; the first: {first}")
        self._write([images[place] for place in readable], readable, kept, partial, unreadable)
        partial.remove()
        return Embedded(
            folder=self.out,
            model=self.model,
            count=len(readable),
            new=len(todo) - len(unreadable),
            unreadable=unreadable,
        )

    def _absolute(self, listed: ImageList) -> list[ImageFile]:
        """Images by absolute path: another root is another way to name the same image."""
        root = str(listed.root)
        return [attrs.evolve(image, path=os.path.join(root, image.path)) for image in listed.images]

    def _kept(self) -> dict[ImageFile, int]:
        """The images that the folder has a vector of, with its row.

        Raises:
            VectorsError: they are of another model, in another form, or of other images.
        """
        if not is_vectors(self.out):
            return {}
        manifest, where = read_manifest(self.out), display_path(self.out)
        check_same_model(self.model, manifest.model, where)
        if (manifest.storage, manifest.dtype) != (self.storage, self.dtype):
            raise VectorsError(
                f"{where} holds {manifest.dtype} as {manifest.storage}: give --format"
                f" {manifest.storage} --dtype {manifest.dtype}, another --out, or --overwrite"
            )
        before = self._absolute(ImageList(Path(manifest.root), read_images(self.out, manifest)))
        now = {os.path.join(self.listed.root, image.path) for image in self.listed.images}
        if others := [image.path for image in before if image.path not in now]:
            raise VectorsError(
                f"{where} holds vectors of {len(others)} images that are not given now, such as"
                f" {display_path(others[0])}: give these too, another --out, or --overwrite"
            )
        return {image: row for row, image in enumerate(before)}

    def _embed(
        self, todo: Sequence[ImageFile], partial: PartialVectors, *, done: int
    ) -> dict[str, str]:
        """Embed images; gives those that cannot be read, with what is wrong with them."""
        unreadable: dict[str, str] = {}
        model = self.model
        embedder, _ = self.loaded.embedder(
            branch=model.branch, domain=model.domain, tta=model.tta or "none"
        )
        total = done + len(todo)
        with Report("embedding", total, "images", done=done, closing_line=bool(todo)) as report:

            def refuse(place: int, error: DataError) -> None:
                unreadable[todo[place].path] = str(error)
                report.tick()

            batches = embed_batches(
                embedder,
                [image.path for image in todo],
                self.loaded.device,
                domain=model.domain,
                refused=None if self.strict else refuse,
                max_pixels=self.max_pixels,
                workers=self.workers,
            )
            with closing(batches):
                for batch in batches:
                    images = [todo[row] for row in batch.rows]
                    _refuse_not_finite(images, batch.vectors_BD)
                    partial.append(images, batch.vectors_BD)
                    report.tick(len(images))
        return unreadable

    def _write(
        self,
        images: Sequence[ImageFile],
        places: Sequence[int],
        kept: dict[ImageFile, int],
        partial: PartialVectors,
        unreadable: dict[str, str],
    ) -> None:
        """Write the folder, unless it is as it should be already."""
        _write_unreadable(self.out / UNREADABLE, unreadable)
        if kept and not partial.images:
            manifest = read_manifest(self.out)
            same_root = manifest.root == str(self.listed.root)
            if same_root and (manifest.count, manifest.unreadable) == (
                len(images),
                len(unreadable),
            ):
                return
        write_vectors(
            self.out,
            _blocks(images, self.out if kept else None, kept, partial),
            [self.listed.images[place] for place in places],
            self.model,
            self.listed.root,
            storage=self.storage,
            dtype=self.dtype,
            unreadable=len(unreadable),
        )


def _blocks(
    images: Sequence[ImageFile],
    folder: Path | None,
    kept: dict[ImageFile, int],
    partial: PartialVectors,
) -> Iterator[np.ndarray]:
    """The vectors of images, float32 [B, D] each, from the folder of before and from new ones."""
    new_MD = partial.vectors()
    old_ND = new_MD[:0] if folder is None else Vectors.open(folder).vectors
    new = {image: row for row, image in enumerate(partial.images)}
    for start in range(0, len(images), _BLOCK):
        part = images[start : start + _BLOCK]
        block_BD = np.empty((len(part), partial.model.dim), dtype=np.float32)
        for source_ND, rows in ((old_ND, kept), (new_MD, new)):
            # a new vector takes the place of an old one, where both are there
            found = [(place, rows[image]) for place, image in enumerate(part) if image in rows]
            if found:
                places, chosen = map(list, zip(*found, strict=True))
                block_BD[places] = source_ND[chosen]
        yield block_BD


def _refuse_not_finite(images: Sequence[ImageFile], vectors_BD: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors_BD).all(axis=1))
    if len(bad):
        raise StageError(
            f"the vector of {images[bad[0]].path} is not finite: its features are all zero, or the"
            " model diverged in training (see the stage's log.jsonl)"
        )


def _write_unreadable(path: Path, unreadable: dict[str, str]) -> None:
    if not unreadable:
        path.unlink(missing_ok=True)
        return
    write_atomic(path, "")
    for image, why in unreadable.items():
        append_json_line(path, {"path": image, "why": why})

"""An index in a folder: made of folders of vectors or images, and changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from udonx.common.files import folder_problem
from udonx.common.options import as_tuple
from udonx.common.words import display_path
from udonx.config.problems import ConfigError, Problem
from udonx.search.embed import embed
from udonx.search.index import Index, Kind, is_index, open_vectors
from udonx.search.vectors import Vectors, VectorsError


def index(
    folders: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    kind: Kind | None = None,
    model: str | Path | None = None,
    add: bool = False,
    remove: str | Sequence[str] = (),
    overwrite: bool = False,
    weights: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    plugins: Sequence[str] = (),
) -> Index:
    """Make the index of a folder, or change the one that is there.

    Args:
        folders: of vectors, or other indexes; with `model` what `embed` takes for images.
        out: the folder of the index.
        kind: how it is searched: "exact", "hnsw" or "ivfpq"; default: by its size, and of an index
            that is there, as it was.
        model: embeds images first, into a folder of vectors beside the index, `out` with
            ".vectors" at its end. A call that was stopped goes on there.
        add: add to the index that is there.
        remove: remove the images whose paths below the root match one of these patterns, such as
            "cars/*", from the index that is there; this comes before what is added.
        overwrite: replace the index that is there.
        weights: the folder where start weights of backbones are looked up first.
        device: `cpu`, `cuda` or `cuda:N`; default: the GPU where there is one.
        workers: threads that decode images.
        plugins: modules or .py files to import first.

    Returns:
        The index, as it was saved.

    Raises:
        VectorsError: an index that is there already, or is not there; vectors of several models;
            a pattern that matches nothing.

    Example:
        udonx.index("photos.vectors", out="photos.index")
    """
    out = Path(out)
    folders = (folders,) if isinstance(folders, Path) else as_tuple(folders)
    patterns = as_tuple(remove)
    if message := folder_problem(out):
        raise ConfigError([Problem(where="--out", message=message)])
    _check_purpose(out, bool(folders), add, bool(patterns), overwrite)
    if model is not None and folders:
        vectors = out.with_name(f"{out.name}.vectors")
        embed(
            model,
            folders,
            out=vectors,
            weights=weights,
            device=device,
            workers=workers,
            plugins=plugins,
        )
        folders = (vectors,)
    parts = [open_vectors(folder) for folder in folders]
    if add or patterns:
        with _locked(out):
            made = Index.load(out)
            _remove(made, patterns)
            made = _joined(made, parts, kind or made.kind)
            made.save(out)
    else:
        # what it will be depends on how many they are in all
        made = _joined(Index(parts[0], "exact"), parts[1:], kind)
        made.save(out)
    return made


def _joined(index: Index, parts: Sequence[Vectors], kind: Kind | None) -> Index:
    """An index with more vectors, of a kind."""
    for part in parts:
        index.add(part)
    return index if index.kind == kind else Index(index.vectors, kind)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing an index, whose change would be lost.

    Raises:
        VectorsError: another one is changing it.
    """
    if not is_index(folder):  # which the reader refuses in its own words
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # a file system without locks: changes are one at a time by the user's own care
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise VectorsError(
                    f"{display_path(folder)}: another process is changing this index; wait for it"
                ) from None
        yield
    finally:
        os.close(handle)


def _check_purpose(out: Path, has_folders: bool, add: bool, removes: bool, overwrite: bool) -> None:
    """Refuse a call that does not say what to do.

    Raises:
        VectorsError: it has nothing to do, or would replace an index unasked.
    """
    where, changes = display_path(out), add or removes
    if not has_folders and (add or not removes):
        raise VectorsError("no folder is given; give folders of vectors, which `udonx embed` makes")
    if has_folders and removes and not add:
        raise VectorsError(f"say with --add that the folders are to be added to {where}")
    if overwrite and changes:
        raise VectorsError("--overwrite makes a new index, --add and --remove change one: give one")
    if is_index(out) and not changes and not overwrite:
        raise VectorsError(
            f"{where} is an index already; add to it with --add, replace it with --overwrite, or"
            " give another --out"
        )


def _remove(index: Index, patterns: Sequence[str]) -> None:
    """Remove the images that match.

    Raises:
        VectorsError: a pattern that none matches.
    """
    removed = set()
    for pattern in patterns:
        matches = {path for path in index.vectors.paths if fnmatchcase(path, pattern)}
        if not matches:
            first = index.vectors.paths[0]
            raise VectorsError(
                f"--remove {pattern}: no image matches; paths look like {first!r}, below"
                f" {index.vectors.root}"
            )
        removed |= matches
    if removed:
        index.remove(removed)

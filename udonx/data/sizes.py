"""Which images of a split are there, and how large their files are.

It is cheap enough to be asked of millions at every start.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from udonx.data.errors import DataError
from udonx.data.paths import NOWHERE, resolve_image

MISSING = -1
_THREADS = 8  # a local disk needs one; on a network disk each listing is waited for


def image_sizes(root: Path | str, paths: Sequence[str]) -> np.ndarray:
    """Sizes in bytes of image files, int64 [N].

    A size is `MISSING` where there is no file, however its name is spelled.

    A folder is listed once: asking for millions of files one by one takes minutes on a network
    disk.

    Args:
        root: the folder that holds `images`.
        paths: N paths relative to `root/images`.

    Raises:
        OSError: the disk does not say whether a file exists.
    """
    folders: dict[str, tuple[list[int], list[str]]] = {}
    for row, path in enumerate(paths):
        folder, _, name = path.rpartition("/")
        rows, names = folders.setdefault(folder, ([], []))
        rows.append(row)
        names.append(name)
    images = Path(root) / "images"
    sizes_N = np.empty(len(paths), dtype=np.int64)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="udonx-sizes") as pool:
        found = pool.map(lambda folder: _in_folder(images / folder, folders[folder][1]), folders)
        for (rows, _), sizes in zip(folders.values(), found, strict=True):
            sizes_N[rows] = sizes
    for row in np.flatnonzero(sizes_N == MISSING).tolist():
        try:
            sizes_N[row] = resolve_image(root, paths[row]).stat().st_size
        except DataError:
            continue
    return sizes_N


def _in_folder(folder: Path, names: list[str]) -> list[int]:
    """The sizes of the regular files of these names in a folder.

    A size is `MISSING` where there is none.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in NOWHERE:
            return [MISSING] * len(names)
        raise
    try:
        there = set(os.listdir(handle))
        return [_size(name, handle) if name in there else MISSING for name in names]
    finally:
        os.close(handle)


def _size(name: str, folder: int) -> int:
    try:
        about = os.stat(name, dir_fd=folder)
    except OSError as error:
        if error.errno in NOWHERE:  # a link to nothing
            return MISSING
        raise
    return about.st_size if stat.S_ISREG(about.st_mode) else MISSING

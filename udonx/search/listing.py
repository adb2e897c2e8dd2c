"""Which images are meant by folders, files and lists of files."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from udonx.common.files import read_bytes
from udonx.common.words import display_path
from udonx.data.prepare.class_folders import PHOTOS
from udonx.search.vectors import ImageFile, VectorsError

logger = logging.getLogger(__name__)

_LIST = "@"


@attrs.frozen
class ImageList:
    """Images below one folder, each once, in alphabetical order.

    Attributes:
        root: the absolute folder that their paths start from.
        images: their paths below it, with size and time of their files.
    """

    root: Path
    images: list[ImageFile]


def list_images(paths: Sequence[str | Path]) -> ImageList:
    """The images that are given.

    Folders are searched to any depth for files with the suffix of an image; what is hidden is left
    out, and links are followed. Nothing is opened.

    Args:
        paths: folders, image files, and "@FILE" for a file with one of these a line.

    Raises:
        VectorsError: a path that is not there, a list that cannot be read, or no image at all.
        OSError: a folder that cannot be read.
    """
    given = [each for path in paths for each in _expanded(str(path))]
    found: dict[str, os.stat_result | None] = {}
    roots = []
    for path, listed in given:
        if os.path.isdir(path):
            roots.append(path)
            before = len(found)
            found.update(_in_folder(path))
            if len(found) == before and len(given) > 1:
                logger.warning(f"{display_path(path)} holds no image that was not given before")
        elif listed or os.path.lexists(path):
            roots.append(os.path.dirname(path))
            found[path] = _status(path)
        else:
            raise VectorsError(
                f"{display_path(path)} is not there; give folders, images, or @FILE with one path a"
                " line"
            )
    if not given:
        raise VectorsError("no path is given; give folders, images, or @FILE with one path a line")
    if not found:
        names = ", ".join(display_path(path) for path, _ in given[:3])
        raise VectorsError(
            f"{names} holds no image; looked for are files that end in"
            f" {', '.join(sorted(PHOTOS))}, at any depth"
        )
    root = os.path.commonpath(roots)
    start = len(os.path.join(root, ""))
    images = [
        ImageFile(path[start:])
        if about is None
        else ImageFile(path[start:], about.st_size, about.st_mtime_ns)
        for path, about in sorted(found.items())
    ]
    return ImageList(Path(root), images)


def _expanded(path: str) -> Iterator[tuple[str, bool]]:
    """A path as it is, or those of a list; absolute, with whether it stood in a list."""
    if not path.startswith(_LIST):
        yield os.path.abspath(path), False
        return
    name = path.removeprefix(_LIST)
    try:
        lines = read_bytes(name).splitlines()
    except FileNotFoundError:
        raise VectorsError(
            f"{name} is not there; give a file with the path of an image on each line"
        ) from None
    yield from ((os.path.abspath(os.fsdecode(line)), True) for line in lines if line.strip())


def _in_folder(folder: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """The images of a folder to any depth; a folder that links lead back to is searched once."""
    seen, waiting = set(), [folder]
    while waiting:
        here = waiting.pop()
        status = os.stat(here)
        if (place := (status.st_dev, status.st_ino)) in seen:
            continue
        seen.add(place)
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    waiting.append(entry.path)
                elif os.path.splitext(entry.name)[1].lower() in PHOTOS:
                    yield entry.path, _status(entry.path)


def _status(path: str) -> os.stat_result | None:
    """What the disk says of a file; None for a link to nothing, which is refused when opened."""
    try:
        return os.stat(path)
    except OSError:
        return None

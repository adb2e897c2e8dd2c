"""Small pictures beside the pages, each written once for all tables."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import attrs
from PIL import Image

from udonx.data.errors import DataError
from udonx.data.images import MAX_PIXELS, decode
from udonx.data.paths import resolve_image

EDGE = 96
"""The longer edge in pixels; smaller images stay as they are."""
_QUALITY = 75
_NAME = re.compile(r"[0-9a-f]{16}\.webp(\.\d+)?")  # with a number: of a process that was killed


@attrs.define(eq=False)
class Pictures:
    """The pictures of a report, WebP files in one folder.

    A picture is named by the image that it was made from (its place, size and time). So equal ones
    of several tables are one file, and those of an earlier report are used again.

    Args:
        folder: where they lie.

    Attributes:
        used: the names of those that this report shows.
    """

    folder: Path
    used: set[str] = attrs.field(factory=set, init=False)
    _names: dict[tuple[Path, str], str | None] = attrs.field(factory=dict, init=False)

    def add(self, root: Path, path: str, max_pixels: int = MAX_PIXELS) -> str | None:
        """The picture of an image, written where it is not there.

        Args:
            root: the folder that holds `images`.
            path: as in a split file, relative to `root/images`.
            max_pixels: larger images have none.

        Returns:
            The name of its file; None where the image is not there or cannot be decoded.
        """
        if (root, path) not in self._names:
            try:
                self._names[root, path] = self._write(resolve_image(root, path), max_pixels)
            except DataError:  # the page names the image without its picture
                self._names[root, path] = None
        if name := self._names[root, path]:
            self.used.add(name)
        return self._names[root, path]

    def remove_others(self) -> None:
        """Remove the pictures of an earlier report that this one does not show."""
        for file in self.folder.glob("*.webp*") if self.folder.is_dir() else ():
            if _NAME.fullmatch(file.name) and file.name not in self.used:
                file.unlink(missing_ok=True)

    def _write(self, image: Path, max_pixels: int) -> str:
        status = image.stat()
        key = f"{image.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{EDGE}\0{_QUALITY}"
        name = f"{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:16]}.webp"
        if not _is_there(self.folder / name):
            picture = Image.fromarray(decode(image, upright=True, max_pixels=max_pixels))
            picture.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
            self.folder.mkdir(parents=True, exist_ok=True)
            # not synced, unlike other files: of thousands that would take longer than all the rest,
            # and they can be made again
            temporary = self.folder / f"{name}.{os.getpid()}"
            picture.save(temporary, format="WEBP", quality=_QUALITY)
            os.replace(temporary, self.folder / name)
        return name


def _is_there(file: Path) -> bool:
    """Whether a picture is there; one that a failure of the power left empty is not."""
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False

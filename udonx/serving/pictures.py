"""Images of an index by their place, made small; nothing else is ever read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from udonx.data.errors import DataError
from udonx.data.images import decode

SMALL, LARGE = 320, 1600
"""The longer side of a picture beside others, and of one alone, in pixels."""
_KEPT = 1024  # small pictures that are kept in memory


class Pictures:
    """The images of an index as JPEG.

    A picture is known by its place in the index, never by a path. A file that lies outside the
    index's folder, by a link or by `..`, is not read.

    Args:
        root: the folder of the images.
        paths: of the images below it.
        max_pixels: larger images are not shown.
    """

    def __init__(self, root: Path, paths: Sequence[str], max_pixels: int) -> None:
        self._root, self._paths, self._max_pixels = root, paths, max_pixels
        self._small = lru_cache(_KEPT)(self._make)

    def jpeg(self, row: int, side: int = SMALL) -> bytes:
        """An image, at most `side` pixels wide and high.

        Raises:
            DataError: there is no such place, or its file is gone, outside, or no image.
        """
        if not 0 <= row < len(self._paths):
            raise DataError(f"there is no image {row}: the index has 0 to {len(self._paths) - 1}.")
        return self._small(row, side) if side == SMALL else self._make(row, side)

    def _make(self, row: int, side: int) -> bytes:
        image = Image.fromarray(decode(self._file(row), upright=True, max_pixels=self._max_pixels))
        image.thumbnail((side, side))
        content = io.BytesIO()
        image.save(content, "JPEG", quality=85)
        return content.getvalue()

    def _file(self, row: int) -> Path:
        root = self._root.resolve()
        file = (root / self._paths[row]).resolve()
        if not file.is_relative_to(root):
            raise DataError(f"image {row} lies outside the folder of the index: it is not shown.")
        return file

"""Image files to arrays, and a store that keeps decoded images in memory."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from udonx.data.errors import DataError
from udonx.data.paths import resolve_image

# What Pillow raises for broken files, depending on the format and on where the damage is.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def decode(path: Path | str) -> np.ndarray:
    """Decode an image file to RGB.

    1-bit, grey, 16-bit grey, palette and CMYK images are converted; transparency is laid over white, as a web page shows it. EXIF
    orientation is ignored, as in the official code (it decodes RGB and no more).

    Args:
        path: a file in a format that Pillow knows.

    Returns:
        uint8 [H, W, 3].

    Raises:
        DataError: the file is missing, truncated, corrupt or no image.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return np.array(to_rgb(image))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: unpack the domain's images there.") from error
    except _BROKEN as error:
        raise DataError(f"{path} cannot be decoded ({error}): replace the file or take it out of its split.") from error


def header_problem(path: Path | str) -> str:
    """Why an image file cannot be opened, in a few words; "" where it can be.

    Reads the header alone, which is quick; damage further on in the file shows only when it is decoded.

    Example:
        >>> header_problem("nowhere.jpg")
        'No such file or directory'
    """
    try:
        with Image.open(path):
            return ""
    except UnidentifiedImageError:
        return "no image that Pillow knows"
    except _BROKEN as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB; see `decode`."""
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit grey at 255 in place of scaling it.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


class ImageStore:
    """Images of one root, decoded once and kept in memory until a limit.

    Nothing is evicted: training passes over all images in turn, and over a set larger than the memory a least-recently-used cache
    would drop every image just before it is needed again. Here the first images to come stay, and each pass finds them. Threads may
    share a store.

    Args:
        root: the folder that holds `images`.
        cache_bytes: the limit; 0 keeps nothing.
    """

    def __init__(self, root: Path | str, cache_bytes: int = 2 * 2**30) -> None:
        self.root = Path(root)
        self.cache_bytes = cache_bytes
        self._images: dict[str, np.ndarray] = {}
        self._used = 0
        self._lock = threading.Lock()

    def load(self, path: str) -> np.ndarray:
        """Return an image as a read-only uint8 [H, W, 3].

        Args:
            path: as in a split file, relative to `root/images`.

        Raises:
            DataError: the file is missing or cannot be decoded.
        """
        # A single dict look-up needs no lock; decoding is outside it, so that threads decode side by side.
        if (image := self._images.get(path)) is not None:
            return image
        image = decode(resolve_image(self.root, path))
        # Callers share the array.
        image.flags.writeable = False
        with self._lock:
            if path not in self._images and self._used + image.nbytes <= self.cache_bytes:
                self._images[path] = image
                self._used += image.nbytes
        return image

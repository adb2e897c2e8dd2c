"""Image files to arrays, and a store that keeps images in memory."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import attrs
import numpy as np
from PIL import Image, UnidentifiedImageError

from udonx.common.files import DamagedFileError, open_regular, read_bytes
from udonx.data.errors import DataError
from udonx.data.paths import resolve_image

logger = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What is decoded. Pillow knows more; some of them start other programs."""
MAX_PIXELS = 100_000_000
"""Images of more pixels are refused, unless the setting says otherwise: `data.max_pixels`, up to
what Pillow opens.
"""

_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow warns of larger images, and refuses those of twice as many pixels.
_WARNED_PIXELS = Image.MAX_IMAGE_PIXELS or 0
_BAND = 256  # rows of an image that are copied at a time
_KEPT_WHOLE = 2**21  # bytes of a decoded image that may be kept as it is

# `max_pixels` says it in a sentence that names the file.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class _Array(Protocol):
    @property
    def nbytes(self) -> int: ...


Prepared = TypeVar("Prepared", bound=_Array)


class UndecodableError(DataError):
    """A file whose content is no image that can be decoded.

    It is damaged, or of a format that is not read.

    Attributes:
        path: the file.
        why: what is wrong with it, in a few words.
    """

    def __init__(self, path: Path | str, why: str) -> None:
        self.path, self.why = str(path), why
        super().__init__(f"{path} cannot be decoded ({why}): replace or remove the file.")


class TooLargeError(DataError):
    """An image of more pixels than are allowed; `why` says how many, in a few words."""

    def __init__(self, path: Path | str, why: str) -> None:
        self.why = why
        super().__init__(
            f"{path} is too large ({why}): scale it down, or raise max_pixels (of the setting:"
            " data.max_pixels)."
        )


def decode(path: Path | str, *, upright: bool = False, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image file to RGB.

    1-bit, grey, 16-bit grey, palette and CMYK images are converted; transparency is laid over
    white, as a web page shows it.

    Args:
        path: a file in one of `FORMATS`.
        upright: turn it as its EXIF orientation says; else it comes as it is stored, as in the
            official code, which knows RGB alone.
        max_pixels: what is larger is refused before it is decoded.

    Returns:
        uint8 [H, W, 3].

    Raises:
        UndecodableError: the file is truncated, corrupt or no image of these formats.
        TooLargeError: it has too many pixels.
        DataError: the file is missing, is no file, or cannot be read at the moment.
    """
    return decode_bytes(_read(path), path, upright=upright, max_pixels=max_pixels)


def decode_bytes(
    data: bytes, name: Path | str, *, upright: bool = False, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decode the bytes of an image file to RGB; see `decode`.

    Args:
        data: what the file holds.
        name: what errors call it.
        upright: see `decode`.
        max_pixels: see `decode`.

    Returns:
        uint8 [H, W, 3].

    Raises:
        UndecodableError: they are truncated, corrupt or no image of these formats.
        TooLargeError: it has too many pixels.
    """
    return to_array(_open_rgb(data, name, upright, max_pixels))


def _read(path: Path | str) -> bytes:
    """A file's bytes, read before anything is decoded.

    So what the disk refuses is not taken for a damaged image.
    """
    try:
        return read_bytes(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: put the image there.") from error
    except DamagedFileError as error:
        raise DataError(f"{path} {error.why}: put an image there.") from error
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise DataError(
            f"{path} cannot be read ({why}), which says nothing about the image: mend that and try"
            " again."
        ) from error


def _open_rgb(data: bytes, path: Path | str, upright: bool, max_pixels: int) -> Image.Image:
    with _opened(io.BytesIO(data), path, max_pixels) as image:
        image.load()
        return to_rgb(turned_upright(image) if upright else image)


@contextlib.contextmanager
def _opened(file: BinaryIO, path: Path | str, max_pixels: int) -> Iterator[Image.Image]:
    """An image whose header was read.

    Whatever Pillow raises over its bytes becomes an UndecodableError: nobody has listed all of it.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            if (pixels := image.width * image.height) > max_pixels:
                raise TooLargeError(path, f"{pixels:,} pixels, allowed are {max_pixels:,}")
            yield image
    except (MemoryError, DataError):
        raise
    except Image.DecompressionBombError:
        raise TooLargeError(
            path, f"more than {2 * _WARNED_PIXELS:,} pixels, allowed are {max_pixels:,}"
        ) from None
    except UnidentifiedImageError as error:
        raise UndecodableError(path, f"no {', '.join(FORMATS[:-1])} or {FORMATS[-1]}") from error
    except Exception as error:
        raise UndecodableError(
            path, getattr(error, "strerror", None) or str(error) or type(error).__name__
        ) from error


def orientation(image: Image.Image) -> int:
    """An image's EXIF orientation, 1 to 8.

    It is 1 (upright) where the image has none or its EXIF data are damaged.
    """
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        # Pillow's parser raises what it runs into. An image without EXIF data is shown as it is,
        # and so is this one.
        return 1
    return value if value in _TURNS else 1


def turned_upright(image: Image.Image) -> Image.Image:
    """An image turned as its EXIF orientation says."""
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB; see `decode`."""
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit grey at 255 in place of scaling it.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def to_array(image: Image.Image) -> np.ndarray:
    """An RGB image as uint8 [H, W, 3].

    It is copied in bands: Pillow would hold a large one twice more.
    """
    array = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for top in range(0, image.height, _BAND):
        bottom = min(top + _BAND, image.height)
        array[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return array


@attrs.frozen
class Look:
    """What was seen of an image file.

    Attributes:
        problem: why it cannot be used; "" where it can.
        turned: whether its EXIF orientation turns it.
    """

    problem: str = ""
    turned: bool = False


def look(path: Path | str, *, whole: bool = False, max_pixels: int = MAX_PIXELS) -> Look:
    """Look at an image file: at its header, or at the `whole` of it.

    The header is quick; damage further on shows only in the whole.

    Example:
        >>> look("nowhere.jpg").problem
        'No such file or directory'
    """
    try:
        with open_regular(path) as file, _opened(file, path, max_pixels) as image:
            if whole:
                image.load()
            return Look(turned=orientation(image) != 1)
    except (UndecodableError, TooLargeError, DamagedFileError) as error:
        return Look(error.why)
    except OSError as error:
        return Look(error.strerror or str(error))


class ImageStore:
    """Images of one root, kept in memory until a limit.

    They are kept as they were decoded, or as what was made of them, whichever is smaller.

    Nothing is evicted, because training passes over all images in turn. Over a set larger than the
    memory, a least-recently-used cache would drop every image just before it is needed again. Here
    the first images to come stay, and each pass finds them. A large image is not kept as it is, so
    that photos take no more memory than thumbnails. Threads may share a store.

    Args:
        root: the folder that holds `images`.
        cache_bytes: the limit; 0 keeps nothing.
        max_pixels: larger images are refused.
        max_unreadable: how many images of a split may turn out not to be decodable; see
            `udonx.data.unreadable`.
        cure: what to do where they are more; default: what helps with images of one's own.
    """

    def __init__(
        self,
        root: Path | str,
        cache_bytes: int = 2 * 2**30,
        *,
        max_pixels: int = MAX_PIXELS,
        max_unreadable: int | None = None,
        cure: str = "",
    ) -> None:
        self.root = Path(root)
        self.cache_bytes = cache_bytes
        self.max_pixels, self.max_unreadable, self.cure = max_pixels, max_unreadable, cure
        self._undecodable: dict[str, str] = {}
        self._kept: dict[Hashable, Any] = {}
        self._used = 0
        self._lock = threading.Lock()

    def load(self, path: str, *, upright: bool = False) -> np.ndarray:
        """Return an image as a read-only uint8 [H, W, 3].

        Args:
            path: as in a split file, relative to `root/images`.
            upright: turned as its EXIF orientation says.

        Raises:
            UndecodableError: it cannot be decoded.
            DataError: it is missing, too large, or cannot be read at the moment.
        """
        # A single dict look-up needs no lock; decoding is outside it, so that threads decode side
        # by side.
        if (image := self._kept.get((path, upright))) is not None:
            return image
        image = self._decode(path, upright)
        if image.nbytes <= _KEPT_WHOLE:
            self._keep((path, upright), image)
        return image

    def prepared(
        self, path: str, prepare: Callable[[np.ndarray], Prepared], *, upright: bool = False
    ) -> Prepared:
        """What `prepare` makes of an image, float32; callers share it and must not change it.

        Args:
            path: see `load`.
            upright: see `load`.
            prepare: a hashable function; equal ones make the same of an image.

        Raises:
            DataError: as `load` does.
        """
        if (kept := self._kept.get((path, upright, prepare))) is not None:
            return kept
        if (image := self._kept.get((path, upright))) is not None:
            return prepare(image)
        image = self._decode(path, upright)
        made = prepare(image)
        if image.nbytes <= made.nbytes:
            self._keep((path, upright), image)
        else:
            self._keep((path, upright, prepare), made)
        return made

    def _decode(self, path: str, upright: bool) -> np.ndarray:
        file = resolve_image(self.root, path)
        if path in self._undecodable:
            raise UndecodableError(file, self._undecodable[path])
        try:
            image = decode(file, upright=upright, max_pixels=self.max_pixels)
        except UndecodableError as error:
            with self._lock:
                known = path in self._undecodable
                self._undecodable[path] = error.why
            if not known:
                logger.warning(
                    f"{file} cannot be decoded ({error.why}); it is left out, see"
                    " data.max_unreadable"
                )
            raise
        image.flags.writeable = False  # callers share the array
        return image

    def _keep(self, key: Hashable, content: Any) -> None:
        with self._lock:
            if key not in self._kept and self._used + content.nbytes <= self.cache_bytes:
                self._kept[key] = content
                self._used += content.nbytes

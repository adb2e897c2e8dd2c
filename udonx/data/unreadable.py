"""Images that turn out not to be decodable amid a run.

They are left out, counted and named, up to a limit.

Which ones they are depends on the files alone, and so does what comes in their place: a run that is
continued stays exact.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import attrs

from udonx.data.errors import DataError
from udonx.data.images import ImageStore, UndecodableError

# the limit where the setting gives none: 10 images, or every 100th of a larger split
_LEAST, _SHARE = 10, 100
_NAMED = 5  # of many images, so many are named
_CURE = (
    "mend or remove them (udonx doctor --data DIR --verify names all), or raise data.max_unreadable"
)


class Unreadable:
    """The images of one split that could not be decoded. Threads may share it.

    Args:
        split: what the split is called in the sentence, such as "train split of cars".
        size: how many images it has.
        store: where they are loaded from; it knows the limit.
        known: those that are known already.
    """

    def __init__(self, split: str, size: int, store: ImageStore, known: Iterable[str] = ()) -> None:
        self.split, self.size, self.cure = split, size, store.cure or _CURE
        self.limit = (
            max(_LEAST, size // _SHARE) if store.max_unreadable is None else store.max_unreadable
        )
        self.paths = set(known)
        self._lock = threading.Lock()

    def add(self, path: str, error: UndecodableError) -> None:
        """Note an image.

        Raises:
            DataError: they are more than allowed, or all that the split has.
        """
        with self._lock:
            self.paths.add(path)
            count = len(self.paths)
        if count > self.limit or count == self.size:
            are = "images cannot be decoded, the last" if count > 1 else "image cannot be decoded,"
            raise DataError(
                f"{self.split}: {count} of its {self.size} {are} {error.path} ({error.why});"
                f" allowed are {min(self.limit, self.size - 1)} (data.max_unreadable): {self.cure}."
            ) from error


@attrs.frozen
class LeftOut:
    """What is kept with a result of images that could not be decoded.

    Attributes:
        images: how many they are.
        first: the first of them in alphabetical order.
    """

    images: int
    first: list[str]


def left_out(paths: Iterable[str]) -> LeftOut | None:
    """What to keep of these images; None where there are none.

    >>> left_out({"cars/b.jpg", "cars/a.jpg"})
    LeftOut(images=2, first=['cars/a.jpg', 'cars/b.jpg'])
    """
    paths = sorted(paths)
    return LeftOut(len(paths), paths[:_NAMED]) if paths else None

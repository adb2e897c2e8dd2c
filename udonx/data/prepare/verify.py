"""Looks at many image files.

Which cannot be used, and which are turned by their EXIF orientation.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import attrs

from udonx.common.threads import in_threads
from udonx.data.errors import DataError
from udonx.data.images import Look, look
from udonx.data.prepare.class_folders import Tally, is_utf8

_THREADS = 8  # those that read headers wait for the disk more than they compute
_CHUNK = 64  # images that a thread takes at a time


@attrs.frozen
class Looked:
    """What was seen of many images.

    Attributes:
        unreadable: path -> why it cannot be used, in the order of the paths.
        turned: those whose EXIF orientation is another than upright.
    """

    unreadable: dict[str, str] = attrs.field(factory=dict)
    turned: Tally = attrs.field(factory=Tally)


def look_at(
    paths: Sequence[str],
    find: Callable[[str], Path],
    *,
    whole: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Looked:
    """Open every image (its header), or decode the `whole` of it, in threads.

    Args:
        paths: the images' names.
        find: where an image lies; it may raise DataError.
        whole: decode them, which also finds damage further on than the header.
        progress: `progress(done, total)` is called with numbers of images.
    """

    def one(path: str) -> tuple[str, Look]:
        if not is_utf8(path):
            return path, Look("its name is not UTF-8")
        try:
            return path, look(find(path), whole=whole)
        except DataError as error:
            return path, Look(str(error))

    found, done = Looked(), 0
    workers = min(os.cpu_count() or 1, _THREADS) if whole else _THREADS
    # Pillow's warnings (odd EXIF, say) name no file.
    with (
        warnings.catch_warnings(),
        closing(in_threads(one, paths, workers, chunk=_CHUNK, name="udonx-open")) as chunks,
    ):
        warnings.simplefilter("ignore")
        for chunk in chunks:
            found.unreadable.update((path, seen.problem) for path, seen in chunk if seen.problem)
            found.turned.add(*(path for path, seen in chunk if seen.turned))
            done += len(chunk)
            if progress is not None:
                progress(done, len(paths))
    return found


def turned_sentence(turned: Tally, total: int) -> str:
    """What to say of images with an EXIF orientation, and of the key that decides about it.

    >>> turned_sentence(Tally(1, ["a.jpg"]), 20)[:60]
    '1 of 20 images has an EXIF orientation other than upright (a'
    """
    named = ", ".join(turned.first) + (
        f" and {turned.count - len(turned.first):,} more"
        if turned.count > len(turned.first)
        else ""
    )
    have = "has" if turned.count == 1 else "have"
    return (
        f"{turned.count:,} of {total:,} images {have} an EXIF orientation other than upright"
        f' ({named}): a setting with transform.orientation = "exif" turns them upright, as'
        ' uned_mini does; with "stored", the default, they stay as they lie there'
    )

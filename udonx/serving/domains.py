"""The domains of an index, as the folders of its images tell them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath


def domains_of(paths: Sequence[str]) -> list[str]:
    """The domain of each image: the first folder in which their paths differ.

    Example:
        >>> domains_of(["images/cars/a.jpg", "images/cars/vw/b.jpg", "images/dishes/c.jpg"])
        ['cars', 'cars', 'dishes']
        >>> domains_of(["a.jpg", "cars/b.jpg"])
        ['', 'cars']
    """
    folders = [PurePosixPath(path).parts[:-1] for path in paths]
    shared = 0
    if folders:
        first, last = min(folders), max(folders)
        for here, there in zip(first, last, strict=False):
            if here != there:
                break
            shared += 1
        if first == last:  # one folder for all: it is their domain
            shared = max(0, shared - 1)
    return [parts[shared] if len(parts) > shared else "" for parts in folders]

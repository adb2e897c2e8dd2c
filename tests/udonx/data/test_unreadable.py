"""The limit on images that cannot be decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from udonx.data.errors import DataError
from udonx.data.images import ImageStore, UndecodableError
from udonx.data.unreadable import Unreadable, left_out


def add(unreadable: Unreadable, count: int) -> None:
    for number in range(count):
        unreadable.add(f"{number}.jpg", UndecodableError(f"{number}.jpg", "truncated"))
        # an image counts once
        unreadable.add(f"{number}.jpg", UndecodableError(f"{number}.jpg", "truncated"))


@pytest.mark.parametrize(
    ("stated", "size", "limit"),
    [(None, 50, 10), (None, 3000, 30), (0, 3000, 0), (3, 3000, 3), (100, 5, 4)],
)
def test_the_limit_is_kept(tmp_path: Path, stated: int | None, size: int, limit: int) -> None:
    """Up to the setting's limit (10 images or every 100th where it has none; never all of a split)
    nothing happens; one more ends it.
    """
    unreadable = Unreadable(
        "the train split of cars", size, ImageStore(tmp_path, max_unreadable=stated)
    )
    add(unreadable, limit)
    assert len(unreadable.paths) == limit
    with pytest.raises(DataError) as caught:
        add(unreadable, limit + 1)
    assert f"the train split of cars: {limit + 1} of its {size} image" in str(caught.value)
    assert f"{limit}.jpg (truncated); allowed are {limit} (data.max_unreadable)" in str(
        caught.value
    )


def test_the_cure_is_the_stores(tmp_path: Path) -> None:
    """Generated images are cured otherwise than those of one's own."""
    with pytest.raises(DataError, match=r"remove it\.$"):
        add(
            Unreadable("the images", 9, ImageStore(tmp_path, max_unreadable=0, cure="remove it")), 1
        )
    with pytest.raises(DataError, match="doctor --data DIR --verify names all"):
        add(Unreadable("the images", 9, ImageStore(tmp_path, max_unreadable=0)), 1)


def test_what_is_kept_with_a_result() -> None:
    """The number, and the first names in alphabetical order, whatever the order in which they were
    met.
    """
    kept = left_out(f"{number}.jpg" for number in (5, 3, 1, 2, 4, 0, 6))
    assert (kept.images, kept.first) == (
        7,
        ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"],
    ) and left_out([]) is None

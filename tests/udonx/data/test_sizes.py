"""Sizes of image files, as identities hold them and as the preflight looks for what is missing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from udonx.data.sizes import MISSING, image_sizes


def write(root: Path, path: str, size: int) -> str:
    """An image file of so many bytes."""
    file = root / "images" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    return path


def test_sizes_come_in_the_order_of_the_paths(tmp_path: Path) -> None:
    """Images of several folders, at the top, named twice or behind a link, and another spelling of
    a name, are all measured.
    """
    paths = [write(tmp_path, f"cars/{number % 7}/{number}.jpg", number) for number in range(50)]
    paths += [write(tmp_path, "top.jpg", 70), paths[3]]
    write(tmp_path, "rp2k/#U53ef.jpg", 80)
    (tmp_path / "images" / "linked").symlink_to("cars")
    sizes = image_sizes(tmp_path, [*paths, "rp2k/可.jpg", "linked/3/45.jpg"])
    assert sizes.tolist() == [*range(50), 70, 3, 80, 45]


def test_what_is_no_image_file_is_missing(tmp_path: Path) -> None:
    """No file, no folder, a file in the place of a folder, a pipe, a folder, a broken link and a
    way out all count as missing.
    """
    write(tmp_path, "cars/a.jpg", 5)
    folder = tmp_path / "images" / "cars"
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    (folder / "link.jpg").symlink_to("nowhere")
    (tmp_path / "secret.jpg").touch()
    lost = [
        "b.jpg",
        "a.jpg/b.jpg",
        "pipe.jpg",
        "folder.jpg",
        "link.jpg",
        "#U002e#U002e/#U002e#U002e/secret.jpg",
        "a/" * 3000 + "b.jpg",
    ]
    assert image_sizes(
        tmp_path, [*(f"cars/{name}" for name in lost), "cars/a.jpg", "nowhere/a.jpg"]
    ).tolist() == [
        *[MISSING] * len(lost),
        5,
        MISSING,
    ]


def test_a_disk_that_does_not_answer_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that cannot be looked at is not taken for one that is missing."""
    write(tmp_path, "cars/a.jpg", 5)

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "listdir", fails)
    with pytest.raises(OSError, match="Input/output error"):
        image_sizes(tmp_path, ["cars/a.jpg"])

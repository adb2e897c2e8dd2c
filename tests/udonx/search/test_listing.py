"""Which images folders, files and lists mean."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from udonx.search.listing import list_images
from udonx.search.vectors import VectorsError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images at several depths, and what is none."""
    root = tmp_path / "photos"
    for name in ("b.JPG", "a/c.png", "a/deep/er/d.webp", "a/notes.txt", ".hidden/e.jpg", ".f.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def names(paths: list) -> list[str]:
    return [image.path for image in list_images(paths).images]


def test_folders_are_searched_to_any_depth(photos: Path) -> None:
    """Files with an image's suffix are found in alphabetical order; what is hidden is left out."""
    listed = list_images([photos])
    assert [image.path for image in listed.images] == ["a/c.png", "a/deep/er/d.webp", "b.JPG"]
    assert listed.root == photos
    status = (photos / "b.JPG").stat()
    assert (listed.images[-1].size, listed.images[-1].time) == (5, status.st_mtime_ns)


def test_an_image_is_listed_once_below_what_is_common(photos: Path) -> None:
    """Paths that overlap, in any order, give each image once; the root is the folder above all."""
    listed = list_images([photos / "a" / "deep", photos / "b.JPG", photos / "a"])
    assert listed.root == photos
    assert [image.path for image in listed.images] == ["a/c.png", "a/deep/er/d.webp", "b.JPG"]
    assert list_images([photos / "b.JPG"]).root == photos


def test_links_are_followed_and_never_for_ever(photos: Path) -> None:
    """A link to a folder is searched, one that leads back is not, one to nothing is listed."""
    (photos / "a" / "back").symlink_to(photos)
    (photos / "gone.jpg").symlink_to(photos / "nowhere")
    elsewhere = photos.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "g.gif").touch()
    (photos / "link").symlink_to(elsewhere)
    listed = list_images([photos])
    found = {image.path: image.size for image in listed.images}
    assert set(found) == {"a/c.png", "a/deep/er/d.webp", "b.JPG", "gone.jpg", "link/g.gif"}
    assert found["gone.jpg"] is None


def test_a_list_names_images_line_by_line(photos: Path) -> None:
    """Empty lines count for nothing; names of any bytes, and missing files, are kept."""
    odd = os.fsdecode(b"\xff.jpg")
    (photos / odd).touch()
    lines = [photos / "b.JPG", "", photos / odd, photos / "missing.jpg", photos / "a"]
    file = photos.parent / "list.txt"
    file.write_bytes(b"\r\n".join(os.fsencode(line) for line in lines) + b"\n")
    assert names([f"@{file}"]) == ["a/c.png", "a/deep/er/d.webp", "b.JPG", "missing.jpg", odd]


def test_what_holds_no_image_is_refused(photos: Path, tmp_path: Path) -> None:
    """A missing path, a missing list, an empty folder and no path at all end in a sentence each."""
    (tmp_path / "empty").mkdir()
    for paths, sentence in (
        ([photos / "nowhere"], r"nowhere is not there; give folders, images, or @FILE"),
        (["@nowhere.txt"], r"nowhere.txt is not there; give a file with the path of an image"),
        ([tmp_path / "empty"], r"empty holds no image; looked for are files that end in .bmp"),
        ([], r"no path is given"),
    ):
        with pytest.raises(VectorsError, match=sentence):
            list_images(paths)

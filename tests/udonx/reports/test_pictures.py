"""Small pictures beside the pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from udonx.reports.pictures import EDGE, Pictures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A photograph, a small image and a file that is none."""
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    waves = 127 * np.sin(np.arange(300 * 200 * 3) / 500).reshape(200, 300, 3) + 128
    Image.fromarray(waves.astype(np.uint8)).save(images / "photo.jpg")
    Image.new("RGBA", (48, 40), "red").save(images / "small.png")
    (images / "broken.png").write_bytes(b"no image")
    return tmp_path / "data"


def test_a_picture_is_small_and_written_once(root, tmp_path):
    """Large images are scaled down, small ones stay; a second report writes nothing again."""
    pictures = Pictures(tmp_path / "out")
    names = [pictures.add(root, path) for path in ("photo.jpg", "small.png", "photo.jpg")]
    assert names[0] == names[2] and len(list(pictures.folder.iterdir())) == 2
    sizes = [Image.open(pictures.folder / name).size for name in names[:2]]
    assert sizes == [(EDGE, EDGE * 2 // 3), (48, 40)]
    times = [file.stat().st_mtime_ns for file in sorted(pictures.folder.iterdir())]
    again = Pictures(tmp_path / "out")
    assert [again.add(root, path) for path in ("photo.jpg", "small.png")] == names[:2]
    assert [file.stat().st_mtime_ns for file in sorted(pictures.folder.iterdir())] == times


def test_an_empty_picture_is_made_again(root, tmp_path):
    """As a failure of the power may leave one."""
    pictures = Pictures(tmp_path / "out")
    name = pictures.add(root, "small.png")
    (pictures.folder / name).write_bytes(b"")
    assert Pictures(tmp_path / "out").add(root, "small.png") == name
    assert Image.open(pictures.folder / name).size == (48, 40)


def test_another_image_of_the_same_name_has_another_picture(root, tmp_path):
    """What an earlier report showed in its place is not shown for it."""
    before = Pictures(tmp_path / "out").add(root, "small.png")
    Image.new("RGB", (50, 40), "blue").save(root / "images" / "small.png")
    assert Pictures(tmp_path / "out").add(root, "small.png") != before


def test_an_image_that_is_gone_or_damaged_has_no_picture(root, tmp_path):
    """The page can do without; nothing outside the folder of images is read."""
    pictures = Pictures(tmp_path / "out")
    assert [pictures.add(root, path) for path in ("broken.png", "gone.png", "../images")] == [
        None
    ] * 3
    assert pictures.add(root, "photo.jpg", max_pixels=100) is None


def test_pictures_that_are_not_shown_any_more_are_removed(root, tmp_path):
    """So is what a killed process left half written; files that are no pictures of ours stay."""
    pictures = Pictures(tmp_path / "out")
    pictures.add(root, "photo.jpg")
    (pictures.folder / "mine.webp").write_bytes(b"")
    (pictures.folder / "0123456789abcdef.webp.77").write_bytes(b"half")
    later = Pictures(tmp_path / "out")
    name = later.add(root, "small.png")
    later.remove_others()
    assert {file.name for file in later.folder.iterdir()} == {name, "mine.webp"}

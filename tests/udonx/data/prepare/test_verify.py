"""Looking at many images: which are damaged, and which are turned."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import write_classes
from udonx.data.errors import DataError
from udonx.data.images import Look
from udonx.data.prepare import verify
from udonx.data.prepare.class_folders import Tally, read_domains
from udonx.data.prepare.verify import look_at, turned_sentence


def names(root: Path) -> list[str]:
    return [path for domain in read_domains(root)[0] for path in domain.paths()]


def test_images_that_cannot_be_opened_are_named_with_the_reason(tmp_path, monkeypatch):
    """Every image is opened; progress ends at their number; the broken ones come in the order of
    their paths.
    """
    monkeypatch.setattr(verify, "_CHUNK", 2)
    write_classes(tmp_path, "cars", {"audi": 5, "bmw": 4})
    (tmp_path / "cars" / "bmw" / "2.png").write_bytes(b"")
    (tmp_path / "cars" / "audi" / "3.png").write_text("text")
    (tmp_path / "cars" / "bmw" / "nowhere.png").symlink_to(tmp_path / "nowhere.png")
    seen = []
    found = look_at(
        names(tmp_path), tmp_path.joinpath, progress=lambda done, total: seen.append((done, total))
    )
    formats = "no JPEG, PNG, WEBP, BMP, GIF or TIFF"
    gone = "No such file or directory"
    assert list(found.unreadable.items()) == [
        ("cars/audi/3.png", formats),
        ("cars/bmw/2.png", formats),
        ("cars/bmw/nowhere.png", gone),
    ]
    assert seen == [(2, 10), (4, 10), (6, 10), (8, 10), (10, 10)]


def test_damage_further_on_is_found_where_it_is_asked_for(tmp_path):
    """An image that is cut off after its header is found by decoding alone."""
    write_classes(tmp_path, "cars", {"audi": 3})
    file = tmp_path / "cars" / "audi" / "1.png"
    file.write_bytes(file.read_bytes()[:-200])
    assert look_at(names(tmp_path), tmp_path.joinpath).unreadable == {}
    (path,) = look_at(names(tmp_path), tmp_path.joinpath, whole=True).unreadable
    assert path == "cars/audi/1.png"


def test_turned_images_are_counted(tmp_path):
    """Images with an EXIF orientation are counted, and the sentence says what the setting's key
    does.
    """
    write_classes(tmp_path, "cars", {"audi": 2})
    exif = Image.Exif()
    for orientation in (1, 3, 6):
        exif[0x0112] = orientation
        Image.fromarray(np.zeros((8, 4, 3), dtype=np.uint8)).save(
            tmp_path / "cars" / "audi" / f"turned{orientation}.jpg", exif=exif
        )
    turned = look_at(names(tmp_path), tmp_path.joinpath).turned
    assert turned == Tally(2, ["cars/audi/turned3.jpg", "cars/audi/turned6.jpg"])
    sentence = turned_sentence(turned, 5)
    assert sentence.startswith(
        "2 of 5 images have an EXIF orientation other than upright (cars/audi/turned3.jpg,"
        " cars/audi/turned6.jpg)"
    )
    assert 'transform.orientation = "exif"' in sentence


def test_an_image_that_is_not_found_is_named(tmp_path):
    """Whatever the finder says of an image is its reason."""

    def find(path: str) -> Path:
        raise DataError("nowhere")

    assert look_at(["a.png"], find).unreadable == {"a.png": "nowhere"}


def test_a_name_that_is_no_text(tmp_path):
    """An image whose name is not UTF-8 cannot stand in a split file."""
    write_classes(tmp_path, "cars", {"audi": 2})
    bad = os.fsdecode(b"\xff")
    os.rename(tmp_path / "cars" / "audi" / "0.png", tmp_path / "cars" / "audi" / f"{bad}.png")
    assert look_at(names(tmp_path), tmp_path.joinpath).unreadable == {
        f"cars/audi/{bad}.png": "its name is not UTF-8"
    }


def test_an_interruption_does_not_wait_for_the_other_images(tmp_path, monkeypatch):
    """What has not begun is not opened any more."""
    monkeypatch.setattr(verify, "_CHUNK", 1)
    opened, lock = [], threading.Lock()

    def slow(path: Path, **_: bool) -> Look:
        with lock:
            opened.append(path)
        time.sleep(0.01)
        return Look()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "look", slow)
    with pytest.raises(KeyboardInterrupt):
        look_at([f"{number}.png" for number in range(100)], tmp_path.joinpath, progress=interrupt)
    assert len(opened) < 50

import errno
import os
import unicodedata
from pathlib import Path

import pytest

from udonx.data.errors import DataError
from udonx.data.paths import path_problem, resolve_image

NAME = "rp2k/可乐é/😀_1.jpg"
FORMS = {
    "plain": unicodedata.normalize("NFC", NAME),
    "NFD": unicodedata.normalize("NFD", NAME),
    "unzip": "rp2k/#U53ef#U4e50#U00e9/#L01f600_1.jpg",
    "unzip, upper case": "rp2k/#U53EF#U4E50#U00E9/#L01F600_1.jpg",
}


@pytest.mark.parametrize("asked", ["plain", "NFD", "unzip"])
@pytest.mark.parametrize("on_disk", list(FORMS))
def test_every_spelling_finds_every_spelling(tmp_path, asked, on_disk):
    """Whatever form the split file holds, the file on disk is found in any other."""
    file = tmp_path / "images" / FORMS[on_disk]
    file.parent.mkdir(parents=True)
    file.touch()
    assert resolve_image(tmp_path, FORMS[asked]).samefile(file)


@pytest.mark.parametrize("path", ["cars/a.jpg", NAME])
def test_missing_image_is_named(tmp_path, path):
    """An image that exists in no spelling raises DataError with its place."""
    with pytest.raises(DataError, match=r"images/.* does not exist"):
        resolve_image(tmp_path, path)


WAYS_OUT = {
    "parent": "../secret.png",
    "parent below": "cars/../../secret.png",
    "unzip's dots": "#U002e#U002e/secret.png",
    "unzip's dots and slash": "#U002e#U002e#U002fsecret.png",
    "unzip's dots, long form": "#L00002e#L00002e/secret.png",
    "escaped twice": "#U0023U002e#U0023U002e/secret.png",
    "beside an umlaut": "ä/#U002e#U002e/../secret.png",
    "one dot escaped": ".#U002e/secret.png",
    "absolute": "{root}/secret.png",
    "absolute, escaped": "#U002f{root}/secret.png",
    "zero byte": "../secret.png\0",
    "escaped zero byte": "../secret.png#U0000",
    "empty": "",
    "the folder itself": ".",
    "beyond Unicode": "#Lffffff.png",
    "half a character": "\ud800.png",
    "long name": "a" * 300 + ".png",
    "long name in Chinese": "中" * 90 + ".png",
    "long path": "a/" * 3000 + "a.png",
}


@pytest.mark.parametrize("path", WAYS_OUT.values(), ids=WAYS_OUT)
def test_nothing_outside_images_is_found(tmp_path, path):
    """No spelling of a path leads out of images/, and what no file can be called is
    one sentence.
    """
    (tmp_path / "images" / "cars").mkdir(parents=True)
    (tmp_path / "images" / "ä").mkdir()
    (tmp_path / "secret.png").touch()
    with pytest.raises(DataError) as caught:
        resolve_image(tmp_path, path.replace("{root}", str(tmp_path)))
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize(
    "name", ["a\\..\\b.png", "..a.png", "a..png", "#U002e#U002e", "a" * 251 + ".png", "#U12.png"]
)
def test_unusual_names_are_names(tmp_path, name):
    """A backslash, dots within a name, an escape of an ASCII character and 255 bytes are a name
    like any other.
    """
    file = tmp_path / "images" / "cars" / name
    file.parent.mkdir(parents=True)
    file.touch()
    assert path_problem(f"cars/{name}") == "" and resolve_image(tmp_path, f"cars/{name}") == file


def test_links_of_the_owner_are_followed(tmp_path):
    """Images may lie elsewhere behind a link that stands in images/, as `data split` makes it; a
    pipe or a folder is no image.
    """
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cars").symlink_to(tmp_path / "photos")
    assert resolve_image(tmp_path, "cars/a.png").samefile(tmp_path / "photos" / "a.png")
    os.mkfifo(tmp_path / "photos" / "pipe.png")
    (tmp_path / "photos" / "folder.png").mkdir()
    (tmp_path / "photos" / "loop.png").symlink_to("loop.png")
    for name in ("pipe", "folder", "loop"):
        with pytest.raises(DataError, match="does not exist"):
            resolve_image(tmp_path, f"cars/{name}.png")


def test_a_disk_that_does_not_answer_is_no_missing_image(tmp_path, monkeypatch):
    """An error that says nothing about the image is passed on as it is."""
    monkeypatch.setattr(
        Path,
        "stat",
        lambda path: (_ for _ in ()).throw(OSError(errno.EIO, os.strerror(errno.EIO), str(path))),
    )
    with pytest.raises(OSError, match="Input/output error"):
        resolve_image(tmp_path, "cars/a.png")

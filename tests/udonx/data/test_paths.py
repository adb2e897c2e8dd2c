import unicodedata

import pytest

from udonx.data.errors import DataError
from udonx.data.paths import resolve_image

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

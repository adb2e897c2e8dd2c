from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from udonx.data import images
from udonx.data.errors import DataError
from udonx.data.images import ImageStore, decode, header_problem

COLOUR = np.array([[[250, 10, 20], [0, 0, 0]], [[255, 255, 255], [30, 60, 90]]], dtype=np.uint8)


def test_png_comes_back_exactly(tmp_path):
    """An RGB PNG decodes to its own pixels as uint8 [H, W, 3]."""
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    image = decode(tmp_path / "a.png")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, COLOUR)


@pytest.mark.parametrize(("mode", "suffix"), [("1", "png"), ("L", "png"), ("P", "png"), ("LA", "png"), ("RGBA", "png"), ("CMYK", "jpg")])
def test_every_mode_becomes_rgb(tmp_path, mode, suffix):
    """1-bit, grey, palette, alpha and CMYK images all decode to three channels, with white kept white."""
    image = Image.new("RGB", (7, 5), "white").convert(mode)
    image.save(tmp_path / f"a.{suffix}")
    decoded = decode(tmp_path / f"a.{suffix}")
    assert decoded.shape == (5, 7, 3) and decoded.min() >= 250


def test_sixteen_bit_grey_is_scaled(tmp_path):
    """16-bit grey keeps its upper byte in place of being clipped at 255."""
    Image.fromarray(np.array([[0, 0x8000, 0xFFFF]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png")[0, :, 0].tolist() == [0, 128, 255]


def test_transparency_shows_white(tmp_path):
    """A fully transparent pixel is white, whatever colour lies under it."""
    Image.new("RGBA", (2, 2), (200, 0, 0, 0)).save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png") == 255).all()


def test_exif_orientation_is_ignored(tmp_path):
    """An image marked as rotated is decoded as it is stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert decode(tmp_path / "a.jpg").shape == (4, 8, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif"])
@pytest.mark.parametrize("damage", ["truncated", "no image", "empty"])
def test_broken_files_are_named(tmp_path, suffix, damage):
    """A truncated, foreign or empty file raises DataError with its path."""
    file = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    whole = file.read_bytes()
    file.write_bytes({"truncated": whole[: len(whole) // 2], "no image": b"text", "empty": b""}[damage])
    with pytest.raises(DataError, match=rf"a\.{suffix} cannot be decoded"):
        decode(file)


def test_missing_file_is_named(tmp_path):
    """A file that is not there raises DataError with its path."""
    with pytest.raises(DataError, match=r"b\.png does not exist"):
        decode(tmp_path / "b.png")


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Six PNGs of 12 bytes each below tmp_path, and the list of what was decoded."""
    (tmp_path / "images").mkdir()
    for number in range(6):
        Image.fromarray(COLOUR + np.uint8(number)).save(tmp_path / "images" / f"{number}.png")
    decoded = []
    monkeypatch.setattr(images, "decode", lambda path: decoded.append(path.name) or decode(path))
    return tmp_path, decoded


def test_store_keeps_the_first_images_up_to_the_limit(stored):
    """Images that fit are decoded once, later ones at every pass; none is evicted."""
    root, decoded = stored
    store = ImageStore(root, cache_bytes=25)
    for _ in range(3):
        for number in range(4):
            np.testing.assert_array_equal(store.load(f"{number}.png"), COLOUR + np.uint8(number))
    assert [decoded.count(f"{number}.png") for number in range(4)] == [1, 1, 3, 3]


def test_stored_images_cannot_be_changed(stored):
    """What the store hands out is read-only, because callers share it."""
    with pytest.raises(ValueError, match="read-only"):
        ImageStore(stored[0]).load("0.png")[0, 0, 0] = 1


def test_store_serves_threads(stored):
    """Many threads get the right images, and the limit holds."""
    store = ImageStore(stored[0], cache_bytes=40)
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda number: store.load(f"{number % 6}.png"), range(300)))
    for number, image in enumerate(loaded):
        np.testing.assert_array_equal(image, COLOUR + np.uint8(number % 6))
    assert store._used == sum(image.nbytes for image in store._images.values()) <= 40


def test_store_names_a_missing_image(tmp_path):
    """An image that is not there raises DataError."""
    with pytest.raises(DataError, match="does not exist"):
        ImageStore(tmp_path).load("cars/a.jpg")


def test_a_header_is_read_without_decoding(tmp_path):
    """A whole image has no problem, nor has one that is truncated after its header; what is no image is told in a few words."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    assert header_problem(tmp_path / "a.png") == ""
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    assert header_problem(tmp_path / "b.png") == ""
    for content, problem in (
        (whole[:20], "Truncated File Read"),
        (b"text", "no image that Pillow knows"),
        (b"", "no image that Pillow knows"),
    ):
        (tmp_path / "b.png").write_bytes(content)
        assert header_problem(tmp_path / "b.png") == problem
    assert header_problem(tmp_path / "nowhere.png") == "No such file or directory"

import errno
import os
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from udonx.data import images
from udonx.data.errors import DataError
from udonx.data.images import ImageStore, Look, TooLargeError, UndecodableError, decode, look

COLOUR = np.array([[[250, 10, 20], [0, 0, 0]], [[255, 255, 255], [30, 60, 90]]], dtype=np.uint8)


def test_png_comes_back_exactly(tmp_path):
    """An RGB PNG decodes to its own pixels as uint8 [H, W, 3]."""
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    image = decode(tmp_path / "a.png")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, COLOUR)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("1", "png"), ("L", "png"), ("P", "png"), ("LA", "png"), ("RGBA", "png"), ("CMYK", "jpg")],
)
def test_every_mode_becomes_rgb(tmp_path, mode, suffix):
    """1-bit, grey, palette, alpha and CMYK images all decode to three channels, with white kept
    white.
    """
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


def save_turned(file, orientation, size=(8, 4)):
    """Save noise with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, exif=exif)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_followed_where_it_is_asked_for(tmp_path, orientation, suffix):
    """An image marked as turned is decoded as it is stored or, upright, as its orientation says,
    for each of the eight.
    """
    file = tmp_path / f"a.{suffix}"
    save_turned(file, orientation)
    with Image.open(file) as image:
        stored, upright = np.asarray(image), np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(decode(file), stored)
    np.testing.assert_array_equal(decode(file, upright=True), upright)
    assert look(file) == look(file, whole=True) == Look(turned=orientation != 1)


def test_damaged_exif_data_turn_nothing(tmp_path):
    """An orientation that does not exist, and EXIF data that are no EXIF data, leave the image as
    it is stored.
    """
    for exif in (
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",
    ):
        Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
        assert (
            decode(tmp_path / "a.jpg", upright=True).shape == (4, 8, 3)
            and look(tmp_path / "a.jpg") == Look()
        )


def test_a_store_holds_stored_and_upright_images_apart(tmp_path):
    """What was loaded as it is stored does not come back where the upright image is asked for."""
    (tmp_path / "images").mkdir()
    save_turned(tmp_path / "images" / "a.png", 6)
    store = ImageStore(tmp_path)
    assert [store.load("a.png", upright=upright).shape for upright in (False, True, False)] == [
        (4, 8, 3),
        (8, 4, 3),
        (4, 8, 3),
    ]
    assert [
        store.prepared("a.png", shape, upright=upright).tolist() for upright in (False, True)
    ] == [[4, 8, 3], [8, 4, 3]]


def shape(image):
    """A preparation that tests can look at."""
    return np.array(image.shape)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif"])
@pytest.mark.parametrize("damage", ["truncated", "no image", "empty"])
def test_broken_files_are_named(tmp_path, suffix, damage):
    """A truncated, foreign or empty file raises DataError with its path."""
    file = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    whole = file.read_bytes()
    file.write_bytes(
        {"truncated": whole[: len(whole) // 2], "no image": b"text", "empty": b""}[damage]
    )
    with pytest.raises(UndecodableError, match=rf"a\.{suffix} cannot be decoded"):
        decode(file)
    assert look(file, whole=True).problem


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
    monkeypatch.setattr(
        images,
        "decode",
        lambda path, **options: decoded.append(path.name) or decode(path, **options),
    )
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
    assert store._used == sum(image.nbytes for image in store._kept.values()) <= 40


def test_store_names_a_missing_image(tmp_path):
    """An image that is not there raises DataError."""
    with pytest.raises(DataError, match="does not exist"):
        ImageStore(tmp_path).load("cars/a.jpg")


def test_the_smaller_of_image_and_result_is_kept(stored):
    """What is made of an image is kept where it is smaller than the image, else the image is;
    either way it is decoded once.
    """
    root, decoded = stored
    small, large = Constant(2), Constant(20)
    store = ImageStore(root)
    for _ in range(3):
        assert (
            store.prepared("0.png", small).nbytes == 2
            and store.prepared("1.png", large).nbytes == 20
        )
    assert decoded == ["0.png", "1.png"] and store._used == 2 + 12
    store.load("1.png")
    assert decoded == ["0.png", "1.png"]


class Constant:
    """A preparation with a result of so many bytes."""

    def __init__(self, size):
        self.size = size

    def __call__(self, image):
        return np.zeros(self.size, dtype=np.uint8)


def test_a_photo_is_not_kept_as_it_is(stored, monkeypatch):
    """An image of more bytes than may be kept is decoded at every pass; smaller ones stay."""
    root, decoded = stored
    monkeypatch.setattr(images, "_KEPT_WHOLE", 11)
    store = ImageStore(root)
    store.load("0.png")
    store.load("0.png")
    assert decoded == ["0.png", "0.png"] and store._used == 0


def test_damage_is_found_once(stored, logged):
    """An image that cannot be decoded is logged once and not tried again; each call raises."""
    root, decoded = stored
    (root / "images" / "0.png").write_bytes((root / "images" / "0.png").read_bytes()[:40])
    store = ImageStore(root)
    for _ in range(3):
        with pytest.raises(UndecodableError, match=r"0\.png cannot be decoded"):
            store.load("0.png")
    assert (
        decoded == ["0.png"]
        and len(logged) == 1
        and "0.png cannot be decoded" in logged[0]
        and "data.max_unreadable" in logged[0]
    )


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_disk_that_refuses_is_no_damaged_image(tmp_path, monkeypatch, number):
    """An error of the system while a file is read is told as such, and is no UndecodableError."""
    Image.fromarray(COLOUR).save(tmp_path / "a.png")

    def refuse(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(images, "read_bytes", refuse)
    with pytest.raises(
        DataError, match=rf"a\.png cannot be read \({os.strerror(number)}\)"
    ) as caught:
        decode(tmp_path / "a.png")
    assert not isinstance(caught.value, UndecodableError) and "replace" not in str(caught.value)


def test_only_listed_formats_are_decoded(tmp_path, monkeypatch):
    """Other formats that Pillow knows are refused by their content, whatever the suffix; EPS starts
    no program.
    """
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.png").write_bytes(eps)
    Image.fromarray(COLOUR).save(tmp_path / "b.ppm")
    (tmp_path / "b.ppm").rename(tmp_path / "b.png")
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    for name in ("a.png", "b.png"):
        with pytest.raises(UndecodableError, match="no JPEG, PNG, WEBP, BMP, GIF or TIFF"):
            decode(tmp_path / name)
        assert "no JPEG, PNG, WEBP, BMP, GIF or TIFF" in look(tmp_path / name).problem


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tif", "tiff"])
def test_listed_formats_are_decoded(tmp_path, suffix):
    """Every suffix that counts as a photograph has a format that is read."""
    Image.new("RGB", (6, 4), "white").save(tmp_path / f"a.{suffix}")
    assert (
        decode(tmp_path / f"a.{suffix}").shape == (4, 6, 3)
        and look(tmp_path / f"a.{suffix}", whole=True) == Look()
    )


def test_pixels_are_limited(tmp_path):
    """An image of more pixels than allowed is refused before it is decoded, in one sentence,
    however far beyond Pillow's own limits.
    """
    Image.new("RGB", (100, 50)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", max_pixels=5000).shape == (50, 100, 3)
    with pytest.raises(
        TooLargeError, match=r"a\.png is too large \(5,000 pixels, allowed are 4,999\)"
    ):
        decode(tmp_path / "a.png", max_pixels=4999)
    Image.new("1", (12_000, 10_000)).save(tmp_path / "b.png")
    Image.new("1", (20_000, 10_000)).save(tmp_path / "c.png")
    for name, count in (("b", "120,000,000 pixels"), ("c", "more than 178,956,970 pixels")):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            with pytest.raises(
                TooLargeError,
                match=rf"{name}\.png is too large \({count}, allowed are 100,000,000\)",
            ):
                decode(tmp_path / f"{name}.png")
        assert count in look(tmp_path / f"{name}.png").problem


def test_a_pipe_is_not_waited_for(tmp_path):
    """What is no regular file is refused at once."""
    os.mkfifo(tmp_path / "a.png")
    for file, why in ((tmp_path / "a.png", "is no regular file"), (tmp_path, "is no regular file")):
        with pytest.raises(DataError, match=why):
            decode(file)
        assert look(file).problem == look(file, whole=True).problem == why


def test_a_header_is_read_without_decoding(tmp_path):
    """A header shows nothing of damage further on, a look at the whole does; what is no image is
    told in a few words.
    """
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    assert look(tmp_path / "a.png") == look(tmp_path / "a.png", whole=True) == Look()
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    assert (
        look(tmp_path / "b.png") == Look()
        and "truncated" in look(tmp_path / "b.png", whole=True).problem
    )
    for content, problem in (
        (whole[:20], "Truncated File Read"),
        (b"text", "no JPEG, PNG, WEBP, BMP, GIF or TIFF"),
        (b"", "no JPEG"),
    ):
        (tmp_path / "b.png").write_bytes(content)
        assert problem in look(tmp_path / "b.png").problem
    assert look(tmp_path / "nowhere.png").problem == "No such file or directory"

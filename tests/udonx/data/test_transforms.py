import attrs
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from tests.tiny import python
from udonx.data.transforms import (
    CentreCrop,
    RandomResizedCrop,
    ResizeCrop,
    Squash,
    sample_crop,
    train_image,
)


@attrs.frozen
class Options:
    mode: str = "resize_crop"
    resize: int = 12
    crop: int = 9
    flip: bool = True
    scale: tuple[float, float] = (0.2, 1.0)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def slow_bilinear(image, height, width):
    """Oracle: one output pixel at a time in float64, half-pixel centres, edges repeated."""
    result = np.empty((height, width, 3))
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * image.shape[0] / height - 0.5, 0), image.shape[0] - 1)
            u = min(max((x + 0.5) * image.shape[1] / width - 0.5, 0), image.shape[1] - 1)
            v0, u0 = int(v), int(u)
            v1, u1 = min(v0 + 1, image.shape[0] - 1), min(u0 + 1, image.shape[1] - 1)
            upper = image[v0, u0] * (1 - (u - u0)) + image[v0, u1] * (u - u0)
            lower = image[v1, u0] * (1 - (u - u0)) + image[v1, u1] * (u - u0)
            result[y, x] = upper * (1 - (v - v0)) + lower * (v - v0)
    return result


def mixed():
    """Images of four shapes, some of them shared, and a crop for each."""
    shapes = [(20, 30), (7, 5), (20, 30), (12, 12), (7, 5), (31, 9), (20, 30)]
    rng = np.random.default_rng(3)
    return [noise(*shape, seed=i) for i, shape in enumerate(shapes)], [
        sample_crop(rng, Options()) for _ in shapes
    ]


def test_official_numbers(shared_dir):
    """The stored images of the official code are met within 1.1e-3 on the 0..255 scale, normalised
    ones likewise.
    """
    arrays = np.load(shared_dir / "parity" / "preprocess.npz")
    for name in ("img0", "img1"):
        image = arrays[f"{name}/uint8"]
        train = train_image(image, ResizeCrop(256, 256, 0, 0, False)).permute(1, 2, 0).numpy()
        np.testing.assert_allclose(
            train[::4, ::4], arrays[f"{name}/train_resize_256_every4th"], rtol=0, atol=1.1e-3
        )
        test = CentreCrop(224)(image).permute(1, 2, 0).numpy()
        expected = arrays[f"{name}/test_split_224_before_normalisation_every4th"]
        np.testing.assert_allclose(test[::4, ::4], expected, rtol=0, atol=1.1e-3)
    np.testing.assert_allclose(
        test / 127.5 - 1,
        arrays["img1/test_split_224_normalised_in21k"],
        rtol=0,
        atol=1.1e-3 / 127.5,
    )


def test_train_equals_a_slow_bilinear():
    """Training images are resized to a square, cropped at the given place and flipped, up and down
    in size.
    """
    images, crops = mixed()
    for image, crop in zip(images, crops, strict=True):
        result = train_image(image, crop)
        expected = slow_bilinear(image, 12, 12)[crop.top : crop.top + 9, crop.left : crop.left + 9]
        expected = expected[:, ::-1] if crop.flip else expected
        np.testing.assert_allclose(result.permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "size", "offset"),
    [((20, 31), (9, 13), (0, 2)), ((31, 20), (13, 9), (2, 0)), ((6, 6), (9, 9), (0, 0))],
)
def test_test_equals_a_slow_bilinear(shape, size, offset):
    """Evaluation keeps the aspect ratio, truncates the longer edge and floors the offset of the
    centre crop.
    """
    expected = slow_bilinear(noise(*shape), *size)[
        offset[0] : offset[0] + 9, offset[1] : offset[1] + 9
    ]
    result = CentreCrop(9)(noise(*shape)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3)


def test_smaller_edge_is_never_truncated():
    """For every image size the crop fits: no size is truncated below it."""
    for edge in range(1, 60):
        assert CentreCrop(23)(noise(edge, edge + 3)).shape == (3, 23, 23)


def test_random_resized_crop_equals_a_slow_bilinear():
    """The box is cut from the source image and resized to the crop."""
    crop = RandomResizedCrop(crop=9, area=0.3, aspect=1.2, top=0.4, left=0.9, flip=True)
    top, left, height, width = crop.box(20, 30)
    expected = slow_bilinear(noise(20, 30)[top : top + height, left : left + width], 9, 9)[:, ::-1]
    np.testing.assert_allclose(
        train_image(noise(20, 30), crop).permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-3
    )


def stacked(images, size):
    """Images of one shape resized in one call of torch, all of them float32 as a whole: how it was
    done before.
    """
    stack = (
        torch.from_numpy(np.stack(images))
        .permute(0, 3, 1, 2)
        .to(torch.float32, memory_format=torch.contiguous_format)
    )
    return interpolate(stack, size=size, mode="bilinear", align_corners=False, antialias=False)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_by_one_equals_together_bit_for_bit(threads):
    """Resized one by one, images have the very bits that they have when torch resizes them
    together, at any number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for seed, (height, width, size) in enumerate(
            [(64, 64, 54), (33, 47, 110), (300, 200, 256), (20, 31, 9), (1, 5, 8), (240, 320, 36)]
        ):
            images = [noise(height, width, seed=10 * seed + number) for number in range(4)]
            for image, expected in zip(images, stacked(images, (size, size)), strict=True):
                assert torch.equal(Squash(size)(image), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("height", "width"), [(1500, 1100), (1025, 1025), (700, 2300), (2300, 700)]
)
@pytest.mark.parametrize("size", [54, 256, 900])
def test_large_images_have_the_same_bits(height, width, size):
    """A photo that is never float32 as a whole comes out bit for bit as if it were, down and up in
    size.
    """
    image = noise(height, width)
    assert torch.equal(Squash(size)(image), stacked([image], (size, size))[0])
    edges = [edge * size // min(height, width) for edge in (height, width)]
    top, left = ((edge - size) // 2 for edge in edges)
    assert torch.equal(
        CentreCrop(size)(image), stacked([image], edges)[0][:, top : top + size, left : left + size]
    )


def test_a_photo_takes_little_memory():
    """Resizing a large image takes a small part of what all of its pixels take as float32."""
    code = """
import resource, numpy as np
from udonx.data.transforms import CentreCrop, Squash
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
image = np.zeros((4000, 6000, 3), dtype=np.uint8)
image[:] = 7
before = Squash(224)(image[:50, :50]) is None or peak()
assert all(abs(resize(image) - 7).max() < 1e-4 for resize in (Squash(224), CentreCrop(224)))
print(peak() - before)
"""
    assert int(python(code)) < 100  # MB; all of it would be 288


@pytest.mark.parametrize("shape", [(1, 17), (17, 1), (3, 70), (70, 3), (2, 400), (400, 2)])
def test_a_strip_is_cut_before_it_is_resized(shape):
    """A thin image gives what a resize of the whole and then the cut would give."""
    height, width = (edge * 9 // min(shape) for edge in shape)
    top, left = (height - 9) // 2, (width - 9) // 2
    expected = stacked([noise(*shape)], (height, width))[0][:, top : top + 9, left : left + 9]
    np.testing.assert_allclose(CentreCrop(9)(noise(*shape)), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", [(1, 60000), (60000, 1)])
def test_a_strip_takes_little_memory(shape):
    """A strip whose resized form would take gigabytes takes next to nothing."""
    code = f"""
import resource, numpy as np
from udonx.data.transforms import CentreCrop
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
image = np.full(({shape[0]}, {shape[1]}, 3), 7, dtype=np.uint8)
assert abs(CentreCrop(224)(image) - 7).max() < 1e-4
print(peak() - before)
"""
    assert int(python(code)) < 50  # MB


def test_result_is_contiguous_float32():
    """What the evaluation sees is contiguous float32 [3, crop, crop] on the 0..255 scale, and
    read-only images are fine.
    """
    images, crops = mixed()
    for image, crop in zip(images, crops, strict=True):
        image.flags.writeable = False
        seen = CentreCrop(9)(image)
        assert seen.is_contiguous()
        for result in (seen, train_image(image, crop)):
            assert result.dtype == torch.float32 and result.shape == (3, 9, 9)
            assert result.min() >= 0 and 100 < result.max() <= 255


def test_crops_cover_every_place():
    """Tops and lefts reach both ends, independently, and about half of the crops are flipped."""
    rng = np.random.default_rng(0)
    crops = [sample_crop(rng, Options()) for _ in range(400)]
    assert {(crop.top, crop.left) for crop in crops} == {
        (top, left) for top in range(4) for left in range(4)
    }
    assert 150 < sum(crop.flip for crop in crops) < 250
    assert not any(sample_crop(rng, Options(flip=False)).flip for _ in range(50))


def test_random_boxes_lie_inside_and_have_the_asked_area():
    """Boxes stay inside images of any shape; where nothing is cut off, area and aspect ratio are
    within the ranges.
    """
    rng = np.random.default_rng(0)
    for _ in range(300):
        crop = sample_crop(rng, Options(mode="random_resized_crop", scale=(0.2, 0.5)))
        for shape in ((200, 220), (3, 90), (1, 1)):
            top, left, height, width = crop.box(*shape)
            assert (
                0 <= top <= top + height <= shape[0]
                and 0 <= left <= left + width <= shape[1]
                and min(height, width) >= 1
            )
        top, left, height, width = crop.box(200, 220)
        assert 0.19 < height * width / 44000 < 0.51 and 0.74 < width / height < 1.35


def test_same_generator_same_crop():
    """Equal generators draw equal crops, before any image is known."""
    for mode in ("resize_crop", "random_resized_crop"):
        first, second = (
            sample_crop(np.random.default_rng(5), Options(mode=mode)) for _ in range(2)
        )
        assert first == second


def test_impossible_options_are_refused():
    """An unknown mode and a crop larger than the resized image raise ValueError."""
    with pytest.raises(ValueError, match=r"crop \(9\) must not exceed resize \(8\)"):
        sample_crop(np.random.default_rng(0), Options(resize=8))
    with pytest.raises(ValueError, match="mode must be"):
        sample_crop(np.random.default_rng(0), Options(mode="squash"))

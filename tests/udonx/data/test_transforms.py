import attrs
import numpy as np
import pytest
import torch

from udonx.data import transforms
from udonx.data.transforms import RandomResizedCrop, ResizeCrop, sample_crop, train_batch


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
    return [noise(*shape, seed=i) for i, shape in enumerate(shapes)], [sample_crop(rng, Options()) for _ in shapes]


def test_official_numbers(shared_dir):
    """The stored images of the official code are met within 1.1e-3 on the 0..255 scale, normalised ones likewise."""
    arrays = np.load(shared_dir / "parity" / "preprocess.npz")
    for name in ("img0", "img1"):
        image = arrays[f"{name}/uint8"]
        train = train_batch([image], [ResizeCrop(256, 256, 0, 0, False)])[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(train[::4, ::4], arrays[f"{name}/train_resize_256_every4th"], rtol=0, atol=1.1e-3)
        test = transforms.test_batch([image], 224)[0].permute(1, 2, 0).numpy()
        expected = arrays[f"{name}/test_split_224_before_normalisation_every4th"]
        np.testing.assert_allclose(test[::4, ::4], expected, rtol=0, atol=1.1e-3)
    np.testing.assert_allclose(test / 127.5 - 1, arrays["img1/test_split_224_normalised_in21k"], rtol=0, atol=1.1e-3 / 127.5)


def test_train_equals_a_slow_bilinear():
    """Training images are resized to a square, cropped at the given place and flipped, up and down in size."""
    images, crops = mixed()
    for image, crop, result in zip(images, crops, train_batch(images, crops), strict=True):
        expected = slow_bilinear(image, 12, 12)[crop.top : crop.top + 9, crop.left : crop.left + 9]
        expected = expected[:, ::-1] if crop.flip else expected
        np.testing.assert_allclose(result.permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("shape", "size", "offset"), [((20, 31), (9, 13), (0, 2)), ((31, 20), (13, 9), (2, 0)), ((6, 6), (9, 9), (0, 0))])
def test_test_equals_a_slow_bilinear(shape, size, offset):
    """Evaluation keeps the aspect ratio, truncates the longer edge and floors the offset of the centre crop."""
    expected = slow_bilinear(noise(*shape), *size)[offset[0] : offset[0] + 9, offset[1] : offset[1] + 9]
    result = transforms.test_batch([noise(*shape)], 9)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3)


def test_smaller_edge_is_never_truncated():
    """For every image size the crop fits: no size is truncated below it."""
    for edge in range(1, 60):
        assert transforms.test_batch([noise(edge, edge + 3)], 23).shape == (1, 3, 23, 23)


def test_random_resized_crop_equals_a_slow_bilinear():
    """The box is cut from the source image and resized to the crop."""
    crop = RandomResizedCrop(crop=9, area=0.3, aspect=1.2, top=0.4, left=0.9, flip=True)
    top, left, height, width = crop.box(20, 30)
    expected = slow_bilinear(noise(20, 30)[top : top + height, left : left + width], 9, 9)[:, ::-1]
    np.testing.assert_allclose(train_batch([noise(20, 30)], [crop])[0].permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("mode", ["resize_crop", "random_resized_crop"])
def test_result_does_not_depend_on_the_grouping(mode):
    """Each image's result is bit for bit the same alone, in a mixed batch and among many of its shape."""
    images, _ = mixed()
    images = images + [noise(20, 30, seed=i) for i in range(10, 40)]
    crops = [sample_crop(np.random.default_rng(i), Options(mode=mode)) for i in range(len(images))]
    together, evaluated = train_batch(images, crops), transforms.test_batch(images, 9)
    for i, (image, crop) in enumerate(zip(images, crops, strict=True)):
        assert torch.equal(train_batch([image], [crop])[0], together[i])
        assert torch.equal(transforms.test_batch([image], 9)[0], evaluated[i])


def test_result_is_contiguous_float32():
    """Batches are contiguous float32 [B, 3, crop, crop] on the 0..255 scale, and read-only images are fine."""
    images, crops = mixed()
    images[0].flags.writeable = False
    for batch in (train_batch(images, crops), transforms.test_batch(images, 9)):
        assert batch.dtype == torch.float32 and batch.shape == (7, 3, 9, 9) and batch.is_contiguous()
        assert batch.min() >= 0 and 100 < batch.max() <= 255


def test_crops_cover_every_place():
    """Tops and lefts reach both ends, independently, and about half of the crops are flipped."""
    rng = np.random.default_rng(0)
    crops = [sample_crop(rng, Options()) for _ in range(400)]
    assert {(crop.top, crop.left) for crop in crops} == {(top, left) for top in range(4) for left in range(4)}
    assert 150 < sum(crop.flip for crop in crops) < 250
    assert not any(sample_crop(rng, Options(flip=False)).flip for _ in range(50))


def test_random_boxes_lie_inside_and_have_the_asked_area():
    """Boxes stay inside images of any shape; where nothing is cut off, area and aspect ratio are within the ranges."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        crop = sample_crop(rng, Options(mode="random_resized_crop", scale=(0.2, 0.5)))
        for shape in ((200, 220), (3, 90), (1, 1)):
            top, left, height, width = crop.box(*shape)
            assert 0 <= top <= top + height <= shape[0] and 0 <= left <= left + width <= shape[1] and min(height, width) >= 1
        top, left, height, width = crop.box(200, 220)
        assert 0.19 < height * width / 44000 < 0.51 and 0.74 < width / height < 1.35


def test_same_generator_same_crop():
    """Equal generators draw equal crops, before any image is known."""
    for mode in ("resize_crop", "random_resized_crop"):
        first, second = (sample_crop(np.random.default_rng(5), Options(mode=mode)) for _ in range(2))
        assert first == second


def test_impossible_options_are_refused():
    """An unknown mode and a crop larger than the resized image raise ValueError."""
    with pytest.raises(ValueError, match=r"crop \(9\) must not exceed resize \(8\)"):
        sample_crop(np.random.default_rng(0), Options(resize=8))
    with pytest.raises(ValueError, match="mode must be"):
        sample_crop(np.random.default_rng(0), Options(mode="squash"))

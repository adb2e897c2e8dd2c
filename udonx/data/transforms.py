"""Resizing and cropping as in the official code.

Bilinear, half-pixel centres, no antialiasing, float32 throughout.

Images come in as uint8 [H, W, 3] and leave as float32 [3, crop, crop] on the 0..255 scale; a model
normalises. PIL's and torchvision's defaults (antialiasing, rounding to bytes) compute something
else when downscaling. Source: the released UDON code.

Images are resized one by one, and a large one never becomes float32 as a whole. Without
antialiasing, a row of the result looks at no more than two rows of the source.
"""

from __future__ import annotations

import math
import mmap
from typing import Protocol

import attrs
import numpy as np
import torch
from torch.nn.functional import interpolate

# Width / height of a random-resized crop, as everywhere in the literature.
_ASPECT = (3 / 4, 4 / 3)
_WHOLE_PIXELS = 2**20  # an image of up to so many pixels is resized as a whole
# an image whose longer edge is more than so many times the shorter is cut before it is resized
_LONG = 16


class TransformOptions(Protocol):
    """What `sample_crop` reads of the transform's options."""

    @property
    def mode(self) -> str:
        """How a training image is cut: "resize_crop" or "random_resized_crop"."""

    @property
    def resize(self) -> int:
        """Edge in pixels of the square that "resize_crop" resizes to."""

    @property
    def crop(self) -> int:
        """Edge in pixels of what the model sees."""

    @property
    def flip(self) -> bool:
        """Whether half of the training images are mirrored."""

    @property
    def scale(self) -> tuple[float, float]:
        """Smallest and largest area of a "random_resized_crop", as a share of the image."""


@attrs.frozen
class ResizeCrop:
    """Resize to `resize` x `resize`, then cut `crop` x `crop` at (top, left), then perhaps flip.

    The aspect ratio is not kept.
    """

    resize: int
    crop: int
    top: int
    left: int
    flip: bool


@attrs.frozen
class RandomResizedCrop:
    """Cut a box, then resize it to `crop` x `crop`, then perhaps flip.

    The box is relative, so it can be drawn before the image's size is known.

    Attributes:
        crop: edge of the result in pixels.
        area: the box's share of the image.
        aspect: its width / height.
        top: its place from above, as a fraction of the room that is left.
        left: its place from the left, as a fraction of the room that is left.
        flip: whether the result is mirrored.
    """

    crop: int
    area: float
    aspect: float
    top: float
    left: float
    flip: bool

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The (top, left, height, width) in pixels of an image of this size.

        A side longer than the image is cut to it.

        Example:
            >>> place = {"top": 1.0, "left": 0.0, "flip": False}
            >>> RandomResizedCrop(crop=8, area=0.25, aspect=1.0, **place).box(40, 40)
            (20, 0, 20, 20)
        """
        area = self.area * height * width
        box_width = min(width, max(1, round(math.sqrt(area * self.aspect))))
        box_height = min(height, max(1, round(math.sqrt(area / self.aspect))))
        return (
            round(self.top * (height - box_height)),
            round(self.left * (width - box_width)),
            box_height,
            box_width,
        )


CropParams = ResizeCrop | RandomResizedCrop


def sample_crop(rng: np.random.Generator, options: TransformOptions) -> CropParams:
    """Draw one image's crop; the number of draws does not depend on the image.

    "resize_crop": top and left uniform over the resized image. "random_resized_crop": area uniform
    in `scale`, log of the aspect ratio uniform between 3/4 and 4/3, place uniform. Both: flip with
    probability 0.5 where `flip` is on.

    Raises:
        ValueError: unknown mode, or a crop larger than the resized image.
    """
    if options.mode == "resize_crop":
        if options.crop > options.resize:
            raise ValueError(f"crop ({options.crop}) must not exceed resize ({options.resize}).")
        top, left = rng.integers(0, options.resize - options.crop, size=2, endpoint=True).tolist()
        return ResizeCrop(options.resize, options.crop, top, left, _flip(rng, options))
    if options.mode == "random_resized_crop":
        area = float(rng.uniform(*options.scale))
        aspect = math.exp(rng.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
        top, left = rng.random(2).tolist()
        return RandomResizedCrop(options.crop, area, aspect, top, left, _flip(rng, options))
    raise ValueError(f'mode must be "resize_crop" or "random_resized_crop", got {options.mode!r}.')


@attrs.frozen
class Squash:
    """Resizes an image, uint8 [H, W, 3], to float32 [3, size, size].

    Its aspect ratio is not kept.
    """

    size: int

    def __call__(self, image: np.ndarray) -> torch.Tensor:
        """The image, uint8 [H, W, 3], as float32 [3, size, size]."""
        return _resize(image, self.size, self.size)


@attrs.frozen
class CentreCrop:
    """What the evaluation sees of an image, uint8 [H, W, 3]: float32 [3, crop, crop].

    Its smaller edge is resized to `crop`, then the centre is cut.

    The longer edge is truncated to an integer, the offset of the crop is floored.

    Example:
        >>> CentreCrop(16)(np.zeros((30, 20, 3), dtype=np.uint8)).shape
        torch.Size([3, 16, 16])
    """

    crop: int

    def __call__(self, image: np.ndarray) -> torch.Tensor:
        """The centre of the image, uint8 [H, W, 3], as float32 [3, crop, crop]."""
        crop, edges = self.crop, image.shape[:2]
        # Integer arithmetic: a float ratio would now and then truncate crop itself to crop - 1.
        height, width = (edge * crop // min(edges) for edge in edges)
        top, left = (height - crop) // 2, (width - crop) // 2
        if max(edges) > _LONG * min(edges):
            return _resize_window(image, (height, width), (top, left), crop)
        return _resize(image, height, width)[:, top : top + crop, left : left + crop].contiguous()


def at_size(crop: CropParams, size: int) -> CropParams:
    """The same part of an image, of another edge in pixels.

    Args:
        crop: what is cut.
        size: the edge of the result.

    Example:
        >>> at_size(ResizeCrop(resize=110, crop=96, top=7, left=14, flip=True), 192)
        ResizeCrop(resize=220, crop=192, top=14, left=28, flip=True)
    """
    if isinstance(crop, RandomResizedCrop):
        return attrs.evolve(crop, crop=size)
    factor = size / crop.crop
    resize = max(round(crop.resize * factor), size)
    top, left = (min(round(place * factor), resize - size) for place in (crop.top, crop.left))
    return ResizeCrop(resize, size, top, left, crop.flip)


def cut(squashed: torch.Tensor, crop: ResizeCrop) -> torch.Tensor:
    """The training crop of an image that was resized, float32 [3, crop, crop].

    The image is float32 [3, resize, resize].
    """
    part = squashed[:, crop.top : crop.top + crop.crop, crop.left : crop.left + crop.crop]
    return part.flip(-1) if crop.flip else part


def cut_box(image: np.ndarray, crop: RandomResizedCrop) -> torch.Tensor:
    """The training crop of an image, uint8 [H, W, 3].

    Its box is resized to float32 [3, crop, crop].
    """
    top, left, height, width = crop.box(*image.shape[:2])
    part = _resize(image[top : top + height, left : left + width], crop.crop, crop.crop)
    return part.flip(-1) if crop.flip else part


def train_image(image: np.ndarray, crop: CropParams) -> torch.Tensor:
    """What training sees of an image, uint8 [H, W, 3]: float32 [3, crop, crop], 0..255.

    Example:
        >>> image = np.full((9, 5, 3), 7, dtype=np.uint8)
        >>> train_image(image, ResizeCrop(resize=8, crop=6, top=0, left=2, flip=True)).unique()
        tensor([7.])
    """
    return (
        cut_box(image, crop)
        if isinstance(crop, RandomResizedCrop)
        else cut(Squash(crop.resize)(image), crop)
    )


def _flip(rng: np.random.Generator, options: TransformOptions) -> bool:
    return bool(options.flip and rng.random() < 0.5)


def _resize(image: np.ndarray, height: int, width: int) -> torch.Tensor:
    """Resize uint8 [H, W, 3] to float32 [3, height, width]."""
    pixels_CHW = image.transpose(2, 0, 1)
    if pixels_CHW[0].size <= _WHOLE_PIXELS:
        source_CHW = np.ascontiguousarray(pixels_CHW, dtype=np.float32)
    else:
        rows = _needed(image.shape[0], height)
        source_CHW = _zeros(pixels_CHW.shape)
        source_CHW[:, rows] = pixels_CHW[:, rows]
    # One image at a time, in one memory layout, so that torch always takes the same kernel.
    return interpolate(
        torch.from_numpy(source_CHW)[None],
        size=(height, width),
        mode="bilinear",
        align_corners=False,
        antialias=False,
    )[0]


def _needed(length: int, size: int) -> np.ndarray:
    """The rows of `length` that may count in a resize to `size`.

    They are two for each, one more where rounding could decide.
    """
    at = (np.arange(size) + 0.5) * (length / size) - 0.5
    lowest = np.floor(at - 0.01)
    return np.unique(
        np.concatenate([lowest, lowest + 1, np.ceil(at + 0.01)])
        .clip(0, length - 1)
        .astype(np.int64)
    )


def _zeros(shape: tuple[int, ...]) -> np.ndarray:
    """float32 zeros that take memory only where something is written to them."""
    pages = mmap.mmap(-1, math.prod(shape) * 4, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):  # a huge page holds many rows
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, dtype=np.float32).reshape(shape)


def _resize_window(
    image: np.ndarray, size: tuple[int, int], corner: tuple[int, int], crop: int
) -> torch.Tensor:
    """The `crop` x `crop` at `corner` of what `_resize` to `size` would give, but for rounding.

    The rest of it is not made.
    """
    (y0, y1, down), (x0, x1, right) = (
        _taps(*edge, crop) for edge in zip(image.shape[:2], size, corner, strict=True)
    )
    down, right = down[:, None, None], right[:, None]
    upper, lower = (
        (1 - right) * image[np.ix_(y, x0)] + right * image[np.ix_(y, x1)] for y in (y0, y1)
    )
    return torch.from_numpy(
        ((1 - down) * upper + down * lower).astype(np.float32).transpose(2, 0, 1).copy()
    )


def _taps(
    length: int, size: int, start: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two source places and the weight of the second, for each place of a resized edge.

    The places are start..start+count-1 of `length` resized to `size`.
    """
    at = ((np.arange(start, start + count) + 0.5) * (length / size) - 0.5).clip(0, length - 1)
    first = np.floor(at).astype(np.int64)
    return first, np.minimum(first + 1, length - 1), at - first

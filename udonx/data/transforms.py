"""Resizing and cropping as in the official code: bilinear, half-pixel centres, no antialiasing, float32 throughout.

Images come in as uint8 [H, W, 3] and leave as float32 [3, crop, crop] on the 0..255 scale; a model normalises. PIL's and
torchvision's defaults (antialiasing, rounding to bytes) compute something else when downscaling. Source: the released UDON code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import attrs
import numpy as np
import torch
from torch.nn.functional import interpolate

# Width / height of a random-resized crop, as everywhere in the literature.
_ASPECT = (3 / 4, 4 / 3)


class TransformOptions(Protocol):
    """What `sample_crop` reads of the transform's options."""

    mode: str  # "resize_crop" or "random_resized_crop"
    resize: int
    crop: int
    flip: bool
    scale: tuple[float, float]


@attrs.frozen
class ResizeCrop:
    """Resize to `resize` x `resize` without keeping the aspect ratio, then cut `crop` x `crop` at (top, left), then perhaps flip."""

    resize: int
    crop: int
    top: int
    left: int
    flip: bool


@attrs.frozen
class RandomResizedCrop:
    """Cut a box, then resize it to `crop` x `crop`, then perhaps flip.

    The box is relative, so it can be drawn before the image's size is known: `area` is its share of the image, `aspect` its width /
    height, and `top` and `left` its place as fractions of the room that is left.
    """

    crop: int
    area: float
    aspect: float
    top: float
    left: float
    flip: bool

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) in pixels of an image of this size; a side longer than the image is cut to it.

        Example:
            >>> RandomResizedCrop(crop=8, area=0.25, aspect=1.0, top=1.0, left=0.0, flip=False).box(40, 40)
            (20, 0, 20, 20)
        """
        area = self.area * height * width
        box_width = min(width, max(1, round(math.sqrt(area * self.aspect))))
        box_height = min(height, max(1, round(math.sqrt(area / self.aspect))))
        return round(self.top * (height - box_height)), round(self.left * (width - box_width)), box_height, box_width


CropParams = ResizeCrop | RandomResizedCrop


def sample_crop(rng: np.random.Generator, options: TransformOptions) -> CropParams:
    """Draw one image's crop; the number of draws does not depend on the image.

    "resize_crop": top and left uniform over the resized image. "random_resized_crop": area uniform in `scale`, log of the aspect
    ratio uniform between 3/4 and 4/3, place uniform. Both: flip with probability 0.5 where `flip` is on.

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


def train_batch(images: Sequence[np.ndarray], crops: Sequence[CropParams]) -> torch.Tensor:
    """Resize and crop training images; those of one shape and one target size are resized in one call.

    Args:
        images: B arrays uint8 [H, W, 3], of any sizes.
        crops: B crops, all of the same `crop`.

    Returns:
        float32 [B, 3, crop, crop], 0..255; an image's result does not depend on the others.

    Example:
        >>> train_batch([np.full((9, 5, 3), 7, dtype=np.uint8)], [ResizeCrop(resize=8, crop=6, top=0, left=2, flip=True)]).unique()
        tensor([7.])
    """
    boxes, targets = [], []
    for image, crop in zip(images, crops, strict=True):
        if isinstance(crop, RandomResizedCrop):
            top, left, height, width = crop.box(*image.shape[:2])
            image, target = image[top : top + height, left : left + width], crop.crop
        else:
            target = crop.resize
        boxes.append(image)
        targets.append((target, target))
    results = []
    for resized, crop in zip(_resize(boxes, targets), crops, strict=True):
        if isinstance(crop, ResizeCrop):
            resized = resized[:, crop.top : crop.top + crop.crop, crop.left : crop.left + crop.crop]
        results.append(resized.flip(-1) if crop.flip else resized)
    return torch.stack(results)


def test_batch(images: Sequence[np.ndarray], crop: int) -> torch.Tensor:
    """Resize evaluation images so that the smaller edge is `crop`, and cut the centre.

    The longer edge is truncated to an integer, the offset of the crop is floored.

    Args:
        images: B arrays uint8 [H, W, 3], of any sizes.
        crop: edge of the result.

    Returns:
        float32 [B, 3, crop, crop], 0..255; an image's result does not depend on the others.

    Example:
        >>> test_batch([np.zeros((30, 20, 3), dtype=np.uint8)], crop=16).shape
        torch.Size([1, 3, 16, 16])
    """
    # Integer arithmetic: a float ratio would now and then truncate crop itself to crop - 1.
    sizes = [tuple(edge * crop // min(image.shape[:2]) for edge in image.shape[:2]) for image in images]
    results = []
    for resized, (height, width) in zip(_resize(images, sizes), sizes, strict=True):
        top, left = (height - crop) // 2, (width - crop) // 2
        results.append(resized[:, top : top + crop, left : left + crop])
    return torch.stack(results)


# The name says which split it serves; pytest would otherwise collect it wherever a test module imports it.
test_batch.__test__ = False


def _flip(rng: np.random.Generator, options: TransformOptions) -> bool:
    return bool(options.flip and rng.random() < 0.5)


def _resize(images: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
    """Resize each image to its (height, width): B tensors float32 [3, height, width]."""
    groups: dict[tuple, list[int]] = {}
    for position, (image, size) in enumerate(zip(images, sizes, strict=True)):
        groups.setdefault((image.shape, size), []).append(position)
    resized: list[torch.Tensor] = [torch.empty(0)] * len(images)
    for (_, size), positions in groups.items():
        stack_BHWC = torch.from_numpy(np.stack([images[position] for position in positions]))
        # One memory layout for any number of images, so that torch always takes the same kernel.
        stack_BCHW = stack_BHWC.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        stack_BCHW = interpolate(stack_BCHW, size=size, mode="bilinear", align_corners=False, antialias=False)
        for position, image_CHW in zip(positions, stack_BCHW, strict=True):
            resized[position] = image_CHW
    return resized

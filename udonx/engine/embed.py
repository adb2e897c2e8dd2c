"""Images of any kind to embeddings, batch by batch, decoded ahead in threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from itertools import chain, islice
from pathlib import Path
from threading import Lock

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from udonx.common.threads import in_threads
from udonx.data.errors import DataError
from udonx.data.images import MAX_PIXELS, decode, to_array, to_rgb, turned_upright
from udonx.data.transforms import CentreCrop
from udonx.engine.device import loading_threads
from udonx.evaluation.protocol import Embedder

BATCH = 128
"""Images that are embedded at once."""
_CHUNK = 16  # images that a thread takes at a time

ImageLike = str | Path | np.ndarray | Image.Image | Tensor
"""A path, a PIL image, or uint8 RGB [H, W, 3]."""


@attrs.frozen(eq=False)
class EmbeddedBatch:
    """Some images, in the order of their list.

    Attributes:
        rows: their places in the list.
        vectors_BD: float32 [B, D] with unit rows.
    """

    rows: list[int]
    vectors_BD: np.ndarray


def embed_batches(
    embedder: Embedder,
    images: Sequence[ImageLike],
    device: torch.device,
    *,
    domain: str | None = None,
    refused: Callable[[int, DataError], None] | None = None,
    max_pixels: int = MAX_PIXELS,
    workers: int | None = None,
) -> Generator[EmbeddedBatch]:
    """Embed images in their order, `BATCH` of them at once.

    Close it (`contextlib.closing`) where the loop may end early.

    Args:
        embedder: what embeds, and how.
        images: paths, PIL images, arrays or tensors.
        device: where the model is.
        domain: whose teacher; the other branches need none.
        refused: is told of each file that cannot be read, by its place; None ends with its error.
        max_pixels: larger files are refused.
        workers: threads that decode; default: the CPU's cores, at most 8 (16 with a GPU).

    Raises:
        DataError: a file that cannot be read, where `refused` is None.
        ValueError: an image of another type or shape.
    """
    workers = workers or loading_threads(device)
    with closing(_loaded(embedder, images, refused, max_pixels, workers)) as loaded:
        while batch := list(islice(loaded, BATCH)):
            rows, tensors = zip(*batch, strict=True)
            images_B3HW = torch.stack(tensors).to(device)
            yield EmbeddedBatch(list(rows), embedder.embed(images_B3HW, domain).cpu().numpy())


def _loaded(
    embedder: Embedder,
    images: Sequence[ImageLike],
    refused: Callable[[int, DataError], None] | None,
    max_pixels: int,
    workers: int,
) -> Generator[tuple[int, Tensor]]:
    """(place, float32 [3, crop, crop]) of the images that can be read, in order."""
    prepare, upright = CentreCrop(embedder.model.crop), embedder.model.upright
    # Pillow's images are not made for several threads, and one may stand in the list twice
    lock = Lock()

    def load(row: int) -> tuple[int, Tensor | DataError]:
        image = images[row]
        try:
            if isinstance(image, str | Path):
                return row, prepare(decode(image, upright=upright, max_pixels=max_pixels))
        except DataError as error:
            if refused is None:
                raise
            return row, error
        with lock if isinstance(image, Image.Image) else nullcontext():
            return row, prepare(_array(image, upright))

    chunks = in_threads(load, range(len(images)), workers, chunk=_CHUNK, name="udonx-embed")
    with closing(chunks):
        for row, result in chain.from_iterable(chunks):
            if isinstance(result, Tensor):
                yield row, result
            elif refused is not None:
                refused(row, result)


def _array(image: np.ndarray | Image.Image | Tensor, upright: bool) -> np.ndarray:
    """An image in memory as uint8 [H, W, 3].

    Raises:
        ValueError: it is of another type or shape.
    """
    if isinstance(image, Image.Image):
        return to_array(to_rgb(turned_upright(image) if upright else image))
    array = image.cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(
            f"an image array must be uint8 [H, W, 3] in RGB; got {array.dtype} {list(array.shape)}"
        )
    return array

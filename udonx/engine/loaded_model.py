"""An embedding ready for use, from the folder of a trained stage."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, nullcontext
from itertools import chain, islice
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from udonx.common.progress import Report
from udonx.common.threads import in_threads
from udonx.data.errors import DataError
from udonx.data.images import MAX_PIXELS, decode, to_array, to_rgb, turned_upright
from udonx.data.transforms import CentreCrop
from udonx.engine.device import loading_threads
from udonx.engine.load import load_stage, read_spec
from udonx.evaluation.protocol import Embedder
from udonx.store.stage import StageFolder

_BATCH = 128
_CHUNK = 16  # images that a thread takes at a time
_NAMED = 5  # of many files that cannot be read, so many are named


class LoadedModel:
    """An embedding ready for use.

    Args:
        folder: the folder of a finished stage (of results/stages).
        device: where it computes.

    Attributes:
        domains: what it was trained on.
        branch: what it embeds with by default.
        dim: the dimension of that branch.
        crop: the model's input size, in pixels.
        upright: whether images are turned by their EXIF orientation.
    """

    def __init__(self, folder: str | Path, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.folder = StageFolder(Path(folder))
        self.model = load_stage(self.folder, self.device)
        self.domains = tuple(self.model.position)
        self.crop, self.upright = self.model.crop, self.model.upright
        spec = read_spec(self.folder)
        self._dims = {"feature": self.model.backbone.dim}
        for branch, head in (("teacher", spec.teacher_head), ("student", spec.student_head)):
            if head is not None:
                self._dims[branch] = head.dim
        # what the stage trained, the student before its teachers, else the features
        self.branch = list(self._dims)[-1]
        self.dim = self._dims[self.branch]

    def __repr__(self) -> str:
        branches = ", ".join(f"{branch} {dim}" for branch, dim in self._dims.items())
        return (
            f"LoadedModel({str(self.folder.path)!r}: {branches}; default {self.branch}; crop"
            f" {self.crop}; {', '.join(self.domains)})"
        )

    def embed(
        self,
        images: Sequence[str | Path | np.ndarray | Image.Image | Tensor],
        *,
        branch: str | None = None,
        domain: str | None = None,
        tta: Literal["none", "flip"] = "none",
        errors: Literal["raise", "nan"] = "raise",
        max_pixels: int = MAX_PIXELS,
        workers: int | None = None,
    ) -> np.ndarray:
        """Embeddings of images: inner products are cosine similarities.

        Args:
            images: paths, PIL images (or a single one of these), or uint8 RGB arrays or tensors [H,
                W, 3]. Files and PIL images are turned by their EXIF orientation if the model was
                trained so (`transform.orientation`).
            branch: "student", "teacher" or "feature"; default: the student, else what the stage
                trained.
            domain: whose teacher; needed by a teacher branch of several domains.
            tta: "flip" for the mean of the embeddings of an image and its mirror image.
            errors: a file that cannot be read ends the call ("raise"), or gets a row of NaN and is
                named in one warning ("nan").
            max_pixels: larger files are refused.
            workers: threads that decode; default: the CPU's cores, at most 8 (16 with a GPU).

        Returns:
            float32 [N, D] with unit rows.

        Raises:
            ValueError: an image of another type or shape, a branch that the model lacks, an unknown
                domain.
            DataError: a file that cannot be read, unless `errors` is "nan".
        """
        images = _listed(images)
        if errors not in ("raise", "nan"):
            raise ValueError(f'errors must be "raise" or "nan"; got {errors!r}')
        if tta not in ("none", "flip"):
            raise ValueError(f'tta must be "none" or "flip"; got {tta!r}')
        branch = branch or self.branch
        if branch not in self._dims:
            raise ValueError(
                f"{self.folder.path} has no branch {branch!r}; it has {', '.join(self._dims)}"
            )
        if branch == "teacher":
            domain = domain or (self.domains[0] if len(self.domains) == 1 else None)
            if domain not in self.domains:
                raise ValueError(
                    "the teacher branch needs the domain of the images, one of"
                    f" {', '.join(self.domains)}; got {domain!r}"
                )
        embedder = Embedder(self.model, branch, None if tta == "none" else tta)
        embeddings_ND = np.full((len(images), self._dims[branch]), np.nan, dtype=np.float32)
        refused: list[str] = []
        loaded = self._loaded(images, max_pixels, workers, None if errors == "raise" else refused)
        with (
            closing(loaded),
            Report(
                "embedding",
                len(images),
                "images",
                closing_line=False,
            ) as report,
        ):
            while batch := list(islice(loaded, _BATCH)):
                rows, tensors = zip(*batch, strict=True)
                images_B3HW = torch.stack(tensors).to(self.device)
                embeddings_ND[list(rows)] = embedder.embed(images_B3HW, domain).cpu().numpy()
                report.tick(len(batch))
        if refused:
            named = "; ".join(refused[:_NAMED]) + (
                f"; and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
            )
            warnings.warn(
                f"the rows of {len(refused)} of {len(images)} images are NaN: {named}", stacklevel=2
            )
        return embeddings_ND

    def _loaded(
        self, images: Sequence[Any], max_pixels: int, workers: int | None, refused: list[str] | None
    ) -> Generator[tuple[int, Tensor]]:
        """(place, float32 [3, crop, crop]) of the images in order, decoded ahead in threads.

        Those that cannot be read join `refused` instead, where it is a list.
        """
        prepare = CentreCrop(self.crop)
        # Pillow's images are not made for several threads, and one may stand in the list twice
        lock = Lock()

        def load(row: int) -> tuple[int, Tensor | DataError]:
            image = images[row]
            try:
                if isinstance(image, str | Path):
                    return row, prepare(decode(image, upright=self.upright, max_pixels=max_pixels))
            except DataError as error:
                if refused is None:
                    raise
                return row, error
            with lock if isinstance(image, Image.Image) else nullcontext():
                return row, prepare(_array(image, self.upright))

        chunks = in_threads(
            load,
            range(len(images)),
            workers or loading_threads(self.device),
            chunk=_CHUNK,
            name="udonx-embed",
        )
        with closing(chunks):
            for row, result in chain.from_iterable(chunks):
                if isinstance(result, Tensor):
                    yield row, result
                elif refused is not None:
                    refused.append(str(result))


def _listed(images: Any) -> Sequence[Any]:
    """Images as a sequence.

    Raises:
        ValueError: they are none.
    """
    if isinstance(images, str | Path | Image.Image):
        return [images]
    if isinstance(images, np.ndarray | Tensor):
        return list(images)
    if isinstance(images, Sequence):
        return images
    raise ValueError(
        "images must be a list of paths, PIL images, arrays or tensors, or a single path or"
        f" PIL image; got {type(images).__name__}"
        + (": make it a list" if isinstance(images, Iterable) else "")
    )


def _array(image: np.ndarray | Image.Image | Tensor, upright: bool) -> np.ndarray:
    if isinstance(image, Image.Image):
        return to_array(to_rgb(turned_upright(image) if upright else image))
    array = image.cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(
            f"an image array must be uint8 [H, W, 3] in RGB; got {array.dtype} {list(array.shape)}"
        )
    return array

"""A trained stage, loaded from its folder without data or results at hand."""

from __future__ import annotations

import os
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

from registry.contracts import StageSpec
from registry.registry import RegistryError
from udonx.common.errors import sentence_of
from udonx.common.files import DamagedFileError
from udonx.common.progress import Report
from udonx.common.threads import in_threads
from udonx.data.errors import DataError
from udonx.data.images import MAX_PIXELS, decode, to_array, to_rgb, turned_upright
from udonx.data.transforms import CentreCrop
from udonx.engine.build import build_model
from udonx.engine.device import loading_threads
from udonx.engine.errors import StageError
from udonx.engine.model import Model
from udonx.planning.identity import from_plain
from udonx.store.stage import RETRAIN, StageFolder

_BATCH = 128
_CHUNK = 16  # images that a thread takes at a time
_NAMED = 5  # of many files that cannot be read, so many are named


def load_stage(folder: StageFolder, device: torch.device) -> Model:
    """The best model of a finished stage, in eval mode, without gradients.

    Raises:
        StageError: the folder is no finished stage, or a component that it needs is not registered:
            nothing is imported for it, the message names the plug-in.
        DamagedFileError: its files are damaged.
    """
    if not (folder.path / "model.json").is_file() or not os.path.lexists(folder.best):
        raise StageError(
            f"{folder.path} is no trained stage: it needs model.json and best.safetensors (a folder"
            " of results/stages)"
        )
    kept = folder.read_model()
    try:
        spec = from_plain(kept.spec)
    except Exception as error:  # cattrs raises what the classes and converters that it calls raise
        raise DamagedFileError(
            folder.path / "model.json", "does not describe a stage", RETRAIN
        ) from error
    try:
        model = build_model(spec, kept.classes, None)
    except RegistryError as error:
        plugins = " ".join(f"--plugin {_kept_plugin(folder, name)}" for name in kept.plugins)
        hint = (
            f"; it was trained with {plugins}: import that first, and nothing else of its name"
            if plugins
            else ""
        )
        raise StageError(f"{folder.path}: {error}{hint}") from None
    except (
        Exception
    ) as error:  # a description that was changed fails in as many ways as there are components
        if sentence_of(error) is not None:  # memory or the disk: the description may be right
            raise
        why = " ".join(str(error).split())
        raise DamagedFileError(
            folder.path / "model.json", f"describes no model that can be built ({why})", RETRAIN
        ) from error
    tensors = folder.load_best()
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise DamagedFileError(
            folder.best, f"is not of this model ({' '.join(str(error).split())})", RETRAIN
        ) from error
    return model.requires_grad_(False).eval().to(device)


def load_teachers(
    spec: StageSpec, folders: Sequence[StageFolder], device: torch.device
) -> dict[str, Model]:
    """The frozen teacher of each domain; empty where a stage has none.

    Args:
        spec: The stage that is taught.
        folders: The finished stages of `spec.teachers`, in their order.
        device: Where it trains.
    """
    teachers: dict[str, Model] = {}
    for teacher, folder in zip(spec.teachers, folders, strict=True):
        teachers |= dict.fromkeys(teacher.taught_domains, load_stage(folder, device))
    return teachers


def _kept_plugin(folder: StageFolder, name: str) -> str:
    """A plug-in as the stage keeps it, so that it is the one that it was trained with."""
    kept = folder.path / "plugins" / Path(name).name
    return str(kept) if kept.is_file() else name


class LoadedModel:
    """An embedding ready for use.

    `dim` is the dimension of its default branch, `crop` the model's input size, `upright` whether
    images are turned by their EXIF orientation, `domains` what it was trained on.
    """

    def __init__(self, folder: str | Path, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.folder = StageFolder(Path(folder))
        self.model = load_stage(self.folder, self.device)
        self.domains = tuple(self.model.position)
        self.crop, self.upright = self.model.crop, self.model.upright
        spec = from_plain(self.folder.read_model().spec)
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
        errors: Literal["raise", "nan"] = "raise",
        max_pixels: int = MAX_PIXELS,
        workers: int | None = None,
    ) -> np.ndarray:
        """Embeddings of images, float32 [N, D] with unit rows: inner products are cosine
        similarities.

        Args:
            images: paths, PIL images (or a single one of these), or uint8 RGB arrays or tensors [H,
                W, 3]. Files and PIL images are turned by their EXIF orientation if the model was
                trained so (`transform.orientation`).
            branch: "student", "teacher" or "feature"; default: the student, else what the stage
                trained.
            domain: whose teacher; needed by a teacher branch of several domains.
            errors: a file that cannot be read ends the call ("raise"), or gets a row of NaN and is
                named in one warning ("nan").
            max_pixels: larger files are refused.
            workers: threads that decode; default: the CPU's cores, at most 8 (16 with a GPU).

        Raises:
            ValueError: an image of another type or shape, a branch that the model lacks, an unknown
                domain.
            DataError: a file that cannot be read, unless `errors` is "nan".
        """
        images = _listed(images)
        if errors not in ("raise", "nan"):
            raise ValueError(f'errors must be "raise" or "nan"; got {errors!r}')
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
                embeddings_ND[list(rows)] = (
                    self.model.embed(torch.stack(tensors).to(self.device), branch, domain)
                    .cpu()
                    .numpy()
                )
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
        """(place, float32 [3, crop, crop]) of the images in order, decoded ahead in threads;
        without those whose errors join `refused`.
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
    """Images as a sequence. Raises ValueError where they are none."""
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

"""A trained stage, loaded from its folder without data or results at hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from registry.catalog import RegistryError
from udonx.data.images import decode, to_rgb
from udonx.data.transforms import test_batch
from udonx.engine.build import build_model
from udonx.engine.folder import RETRAIN, StageFolder
from udonx.engine.model import Model
from udonx.files import DamagedFileError
from udonx.stages import from_plain

_BATCH = 128


def load_stage(folder: StageFolder, device: torch.device) -> Model:
    """The best model of a finished stage, in eval mode, without gradients.

    Raises ValueError where the folder is no finished stage or its files are damaged, or where a component that it needs is not
    registered: nothing is imported for it, the message names the plug-in.
    """
    if not (folder.path / "model.json").is_file() or not os.path.lexists(folder.best):
        raise ValueError(f"{folder.path} is no trained stage: it needs model.json and best.safetensors (a folder of results/stages)")
    kept = folder.read_model()
    try:
        spec = from_plain(kept.spec)
    except Exception as error:  # cattrs raises what the classes and converters that it calls raise
        raise DamagedFileError(folder.path / "model.json", "does not describe a stage", RETRAIN) from error
    try:
        model = build_model(spec, kept.classes, None)
    except RegistryError as error:
        plugins = " ".join(f"--plugin {_kept_plugin(folder, name)}" for name in kept.plugins)
        hint = f"; it was trained with {plugins}: import that first, and nothing else of its name" if plugins else ""
        raise ValueError(f"{folder.path}: {error}{hint}") from None
    tensors = folder.load_best()
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise DamagedFileError(folder.best, f"is not of this model ({' '.join(str(error).split())})", RETRAIN) from error
    return model.requires_grad_(False).eval().to(device)


def _kept_plugin(folder: StageFolder, name: str) -> str:
    """A plug-in as the stage keeps it, so that it is the one that it was trained with."""
    kept = folder.path / "plugins" / Path(name).name
    return str(kept) if kept.is_file() else name


class LoadedModel:
    """An embedding ready for use.

    `dim` is the dimension of its default branch, `crop` the model's input size, `domains` what it was trained on.
    """

    def __init__(self, folder: str | Path, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.folder = StageFolder(Path(folder))
        self.model = load_stage(self.folder, self.device)
        self.domains = tuple(self.model.position)
        self.crop = self.model.crop
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
        return f"LoadedModel({str(self.folder.path)!r}: {branches}; default {self.branch}; crop {self.crop}; {', '.join(self.domains)})"

    def embed(
        self, images: Sequence[str | Path | np.ndarray | Image.Image | Tensor], *, branch: str | None = None, domain: str | None = None
    ) -> np.ndarray:
        """Embeddings of images, float32 [N, D] with unit rows: inner products are cosine similarities.

        Args:
            images: paths, PIL images (or a single one of these), or uint8 RGB arrays or tensors [H, W, 3].
            branch: "student", "teacher" or "feature"; default: the student, else what the stage trained.
            domain: whose teacher; needed by a teacher branch of several domains.

        Raises:
            ValueError: an image of another type or shape, a branch that the model lacks, an unknown domain.
            DataError: a file that cannot be read.
        """
        if isinstance(images, str | Path | Image.Image):
            images = [images]
        branch = branch or self.branch
        if branch not in self._dims:
            raise ValueError(f"{self.folder.path} has no branch {branch!r}; it has {', '.join(self._dims)}")
        if branch == "teacher":
            domain = domain or (self.domains[0] if len(self.domains) == 1 else None)
            if domain not in self.domains:
                raise ValueError(f"the teacher branch needs the domain of the images, one of {', '.join(self.domains)}; got {domain!r}")
        parts = []
        for start in range(0, len(images), _BATCH):
            arrays = [_array(image) for image in images[start : start + _BATCH]]
            parts.append(self.model.embed(test_batch(arrays, self.crop).to(self.device), branch, domain).cpu())
        return torch.cat(parts).numpy() if parts else np.zeros((0, self._dims[branch]), dtype=np.float32)


def _array(image: str | Path | np.ndarray | Image.Image | Tensor) -> np.ndarray:
    if isinstance(image, str | Path):
        return decode(image)
    if isinstance(image, Image.Image):
        return np.array(to_rgb(image))
    array = image.cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"an image array must be uint8 [H, W, 3] in RGB; got {array.dtype} {list(array.shape)}")
    return array

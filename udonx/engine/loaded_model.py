"""An embedding ready for use: of a trained stage, an export, or a backbone off the shelf."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from udonx.common.progress import Report
from udonx.data.errors import DataError
from udonx.data.images import MAX_PIXELS
from udonx.engine.embed import ImageLike, embed_batches
from udonx.engine.errors import StageError
from udonx.engine.model_identity import ModelIdentity
from udonx.engine.models import GivenModel, open_model
from udonx.evaluation.protocol import Embedder

BranchName = Literal["student", "teacher", "feature"]
Tta = Literal["none", "flip"]
_NAMED = 5  # of many files that cannot be read, so many are named


class LoadedModel:
    """An embedding ready for use.

    Args:
        model: the folder of a trained stage (of results/stages); a folder that `export` wrote, or
            its file embedding.onnx or embedding.pt2; or a backbone off the shelf: a folder in
            timm's layout, "SETTING:ROLE", or a model of timm.
        device: where it computes.
        weights: the folder where start weights of backbones are looked up first.

    Attributes:
        domains: what it was trained on; empty of a backbone off the shelf.
        branch: what it embeds with by default.
        dim: the dimension of that branch.
        crop: the model's input size, in pixels.
        upright: whether images are turned by their EXIF orientation.

    Raises:
        StageError: it is no model.
        DamagedFileError: its files are damaged.
        WeightsError: start weights of a backbone are not there.

    Example:
        >>> import udonx
        >>> model = udonx.load_model("demo:main")
        >>> model.branch, model.dim, model.crop
        ('feature', 256, 48)
    """

    def __init__(
        self,
        model: str | Path,
        device: str | torch.device = "cpu",
        *,
        weights: str | Path | None = None,
    ) -> None:
        given = open_model(model, None if weights is None else Path(weights), unfinished=True)
        self._load(given, torch.device(device))

    @classmethod
    def of(cls, given: GivenModel, device: torch.device) -> LoadedModel:
        """The model of `open_model`, loaded."""
        loaded = cls.__new__(cls)
        loaded._load(given, device)
        return loaded

    def _load(self, given: GivenModel, device: torch.device) -> None:
        self.given, self.device = given, device
        self.model = given.source.load(device)
        self.domains = given.spec.domains
        self.crop, self.upright = self.model.crop, self.model.upright
        features = self.model.feature_dim
        self._dims: dict[BranchName, int] = {} if features is None else {"feature": features}
        if given.spec.teacher_head is not None:
            self._dims["teacher"] = given.spec.teacher_head.dim
        if given.spec.student_head is not None:
            self._dims["student"] = given.spec.student_head.dim
        # what the stage trained, the student before its teachers, else the features
        self.branch: BranchName = list(self._dims)[-1]
        self.dim = self._dims[self.branch]

    def __repr__(self) -> str:
        branches = ", ".join(f"{branch} {dim}" for branch, dim in self._dims.items())
        about = [branches, f"default {self.branch}", f"crop {self.crop}"]
        if self.domains:
            about.append(", ".join(self.domains))
        return f"LoadedModel({self.given.name!r}: {'; '.join(about)})"

    def identity(
        self,
        *,
        branch: BranchName | None = None,
        domain: str | None = None,
        tta: Tta = "none",
    ) -> ModelIdentity:
        """What tells the vectors of `embed`, called with the same arguments, from others.

        Raises:
            StageError: as of `embed`.

        Example:
            >>> import udonx
            >>> model = udonx.load_model("demo:main")
            >>> model.identity() == udonx.load_model("demo:main").identity()
            True
            >>> model.identity() == model.identity(tta="flip")
            False
        """
        embedder, domain = self.embedder(branch=branch, domain=domain, tta=tta)
        return ModelIdentity(
            id=self.given.identity,
            weights=self._weights,
            branch=branch or self.branch,
            dim=self._dims[branch or self.branch],
            tta=embedder.tta,
            domain=domain,
            name=self.given.label,
            source=self.given.origin,
        )

    @cached_property
    def _weights(self) -> str:
        return self.given.source.weigh()

    def embed(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        branch: BranchName | None = None,
        domain: str | None = None,
        tta: Tta = "none",
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
            ValueError: an image of another type or shape.
            StageError: a branch that the model lacks, an unknown domain.
            DataError: a file that cannot be read, unless `errors` is "nan".

        Example:
            >>> import numpy as np, udonx
            >>> model = udonx.load_model("demo:main")
            >>> grey = np.full((40, 60, 3), 128, dtype=np.uint8)
            >>> vectors = model.embed([grey, grey])
            >>> vectors.shape, vectors.dtype
            ((2, 256), dtype('float32'))
            >>> (vectors @ vectors.T).round(3).tolist()
            [[1.0, 1.0], [1.0, 1.0]]
        """
        images = _listed(images)
        if errors not in ("raise", "nan"):
            raise ValueError(f'errors must be "raise" or "nan"; got {errors!r}')
        embedder, domain = self.embedder(branch=branch, domain=domain, tta=tta)
        dim = self._dims[branch or self.branch]
        embeddings_ND = np.full((len(images), dim), np.nan, dtype=np.float32)
        refused: list[str] = []

        def note(row: int, error: DataError) -> None:
            refused.append(str(error))

        batches = embed_batches(
            embedder,
            images,
            self.device,
            domain=domain,
            refused=None if errors == "raise" else note,
            max_pixels=max_pixels,
            workers=workers,
        )
        with (
            closing(batches),
            Report("embedding", len(images), "images", closing_line=False) as report,
        ):
            for batch in batches:
                embeddings_ND[batch.rows] = batch.vectors_BD
                report.tick(len(batch.rows))
        if refused:
            named = "; ".join(refused[:_NAMED]) + (
                f"; and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
            )
            warnings.warn(
                f"the rows of {len(refused)} of {len(images)} images are NaN: {named}", stacklevel=2
            )
        return embeddings_ND

    def embedder(
        self,
        *,
        branch: BranchName | None = None,
        domain: str | None = None,
        tta: Tta = "none",
    ) -> tuple[Embedder, str | None]:
        """What embeds, and whose teacher it is: None for the other branches.

        Raises:
            StageError: the model lacks the branch, or has no teacher of the domain.
        """
        if tta not in ("none", "flip"):
            raise ValueError(f'tta must be "none" or "flip"; got {tta!r}')
        branch = branch or self.branch
        if branch not in self._dims:
            raise StageError(
                f"{self.given.name} has no branch {branch!r}; it has {', '.join(self._dims)}"
            )
        if branch != "teacher":
            domain = None
        else:
            domain = domain or (self.domains[0] if len(self.domains) == 1 else None)
            if domain not in self.domains:
                raise StageError(
                    "the teacher branch needs the domain of the images, one of"
                    f" {', '.join(self.domains)}; got {domain!r}"
                )
        return Embedder(self.model, branch, "flip" if tta == "flip" else None), domain


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

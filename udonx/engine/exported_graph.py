"""An exported graph, a file of ONNX or `torch.export`, and what `embedding.json` says of it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from registry.contracts import BackboneSpec, HeadSpec, StageSpec, Transform
from udonx.common.files import DamagedFileError, sha256_file
from udonx.common.json_files import read_json
from udonx.common.words import display_path
from udonx.engine.errors import StageError
from udonx.engine.graph import AGAIN, ONNX_FILE, TORCH_FILE, Graph, read_onnx, read_torch
from udonx.planning.identity import digest

MANIFEST = "embedding.json"
"""The file of an export that says what its graphs take and give."""
GRAPH_FILES = (ONNX_FILE, TORCH_FILE)
_FORMAT = 1  # of the manifest; raised when its keys change


@attrs.frozen(kw_only=True)
class GraphFile:
    """A file of an export: its sha256 and its size in bytes."""

    sha256: str
    size: int


@attrs.frozen(kw_only=True)
class Manifest:
    """embedding.json: what the graphs of an export are.

    Attributes:
        format: of this file.
        stage: the id of the stage.
        branch: "student", "teacher" or "feature".
        head: what the head is, in words; empty for features.
        dim: the length of an embedding.
        tta: "flip" where an embedding is the mean over an image and its mirror image.
        crop: edge of the images in pixels.
        upright: whether images are turned by their EXIF orientation.
        mean: what is subtracted from the colours, 0..1.
        std: what they are divided by.
        precision: what the stage was evaluated in; the graphs compute in float32.
        domains: what the stage was trained on.
        learned: the domains that it learned from; None of a backbone off the shelf.
        preprocessing: the steps before a graph ("outside") and in it ("inside"), in their order.
        files: the graphs by name.
    """

    format: int = _FORMAT
    stage: str
    branch: Literal["student", "teacher", "feature"]
    head: str
    dim: int
    tta: Literal["flip"] | None
    crop: int
    upright: bool
    mean: list[float]
    std: list[float]
    precision: Literal["fp32", "bf16"]
    domains: list[str]
    learned: list[str] | None
    preprocessing: dict[str, Any]
    files: dict[str, GraphFile]


def describe_preprocessing(
    *, crop: int, upright: bool, mean: list[float], std: list[float], tta: str | None
) -> dict[str, Any]:
    """Which steps lie before a graph and which in it, for a program that prepares images itself.

    Args:
        crop: edge of the images in pixels.
        upright: whether images are turned by their EXIF orientation.
        mean: what is subtracted from the colours, 0..1.
        std: what they are divided by.
        tta: "flip" for the mean over an image and its mirror image.
    """
    turn = [{"turn": "by EXIF orientation"}] if upright else []
    flip = [{"tta": "unit mean of the embeddings of the image and its mirror image"}]
    return {
        "outside": [
            {"decode": "8-bit RGB; transparency over white; of 16-bit grey the upper 8 bits"},
            *turn,
            {
                "resize": {
                    "smaller_edge": crop,
                    "longer_edge": "longer * smaller_edge // smaller",
                    "interpolation": "bilinear",
                    "half_pixel_centres": True,
                    "antialias": False,
                    "dtype": "float32, not rounded",
                }
            },
            {"centre_crop": {"size": crop, "top": "(height - size) // 2"}},
            {"layout": f"float32 [batch, 3, {crop}, {crop}], RGB, 0..255"},
        ],
        "inside": [
            {"divide": 255},
            {"normalise": {"mean": mean, "std": std}},
            {"embed": "backbone and head, float32"},
            {"normalise_rows": "unit length"},
            *(flip if tta else []),
        ],
    }


class GraphModel:
    """An exported graph as an evaluation asks it.

    Args:
        graph: what was read.
        manifest: what it is.
        device: where it computes.

    Attributes:
        crop: edge in pixels of the images that it embeds.
        upright: whether images are turned as their EXIF orientation says.
        feature_dim: the length of its embeddings where these are features; else None, since the
            graph does not give them.
    """

    def __init__(self, graph: Graph, manifest: Manifest, device: torch.device) -> None:
        self.graph, self.device = graph, device
        self.branch = manifest.branch
        self.feature_dim = manifest.dim if manifest.branch == "feature" else None
        self.crop, self.upright = manifest.crop, manifest.upright

    @torch.no_grad()
    def embed(self, images_B3HW: Tensor, branch: str, domain: str | None = None) -> Tensor:
        """Embeddings float32 [B, D] with unit rows.

        Args:
            images_B3HW: float [B, 3, crop, crop], 0..255.
            branch: the one that was exported.
            domain: not used: a graph has one embedding for all domains.

        Raises:
            StageError: another branch.
        """
        if branch != self.branch:
            raise StageError(
                f"got the branch '{branch}' for an exported graph, which holds the {self.branch}"
                " alone; ask for that one"
            )
        return self.graph(images_B3HW.float()).to(self.device)


@attrs.frozen(slots=False)
class ExportedGraph:
    """A graph that `udonx export` wrote.

    Args:
        path: embedding.onnx or embedding.pt2, with embedding.json beside it.
    """

    path: Path

    @cached_property
    def manifest(self) -> Manifest:
        """What embedding.json says.

        Raises:
            StageError: it is missing, or does not know this file.
            DamagedFileError: it is damaged.
        """
        try:
            manifest = read_json(self.path.with_name(MANIFEST), Manifest, AGAIN)
        except FileNotFoundError:
            raise StageError(
                f"{display_path(self.path)}: {MANIFEST} is missing beside it; keep the two together"
            ) from None
        if self.path.name not in manifest.files:
            raise StageError(
                f"{display_path(self.path)}: {MANIFEST} beside it knows no file of this name;"
                f" it knows {', '.join(manifest.files)}"
            )
        return manifest

    @property
    def id(self) -> str:
        """What it is known by: all that its embeddings depend on."""
        about = attrs.asdict(attrs.evolve(self.manifest, files={}))
        return digest({"export": about, "file": self.manifest.files[self.path.name].sha256})

    @property
    def learned(self) -> frozenset[str] | None:
        """The domains that it was trained on; None of a backbone off the shelf."""
        learned = self.manifest.learned
        return None if learned is None else frozenset(learned)

    @property
    def spec(self) -> StageSpec:
        """What embeds, in the words of a stage."""
        manifest = self.manifest
        head = HeadSpec(use="exported", dim=manifest.dim)
        return StageSpec(
            domains=tuple(manifest.domains),
            backbone=BackboneSpec(
                use="exported",
                weights=manifest.files[self.path.name].sha256,
                mean=(manifest.mean[0], manifest.mean[1], manifest.mean[2]),
                std=(manifest.std[0], manifest.std[1], manifest.std[2]),
            ),
            transform=Transform(
                crop=manifest.crop, orientation="exif" if manifest.upright else "stored"
            ),
            student_head=head if manifest.branch == "student" else None,
            teacher_head=head if manifest.branch == "teacher" else None,
        )

    def weigh(self) -> str:
        """The sha256 of the file."""
        return self.manifest.files[self.path.name].sha256

    def load(self, device: torch.device) -> GraphModel:
        """The model, ready for use.

        Raises:
            MissingExtraError: it is an ONNX file, and onnxruntime is not installed.
            DamagedFileError: the file is not what was written.
        """
        if sha256_file(self.path) != self.weigh():
            raise DamagedFileError(
                self.path, f"is not the file that {MANIFEST} beside it describes", AGAIN
            )
        read = read_onnx if self.path.name == ONNX_FILE else read_torch
        return GraphModel(read(self.path, device), self.manifest, device)

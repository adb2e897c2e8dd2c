"""An exported folder as a model that can be evaluated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from registry.contracts import BackboneSpec, HeadSpec, StageSpec, Transform
from udonx.common.errors import sentence_of
from udonx.common.files import sha256_file
from udonx.common.words import display_path
from udonx.engine.embedding import Embedding
from udonx.engine.errors import StageError
from udonx.planning.identity import digest

_TENSORS = ("model.safetensors", "head.safetensors")


class ExportedModel:
    """The embedding of an exported folder, as an evaluation asks it.

    Args:
        embedding: what `udonx export` wrote, loaded.

    Attributes:
        crop: edge in pixels of the images that it embeds.
        upright: whether images are turned as their EXIF orientation says.
    """

    def __init__(self, embedding: Embedding) -> None:
        self.embedding = embedding
        self.crop, self.upright = embedding.crop, embedding.upright

    @property
    def feature_dim(self) -> int:
        """The width of the backbone's features."""
        return self.embedding.backbone.num_features  # type: ignore[return-value]

    @torch.no_grad()
    def embed(self, images_B3HW: Tensor, branch: str, domain: str | None = None) -> Tensor:
        """Embeddings float32 [B, D] with unit rows.

        Args:
            images_B3HW: float [B, 3, H, W], 0..255.
            branch: "feature" for the backbone's features, else what the folder embeds.
            domain: not used: one embedding is for all domains.
        """
        embed = self.embedding.features if branch == "feature" else self.embedding
        return embed(images_B3HW)


@attrs.frozen(slots=False)
class ExportedFolder:
    """What `udonx export` wrote; no code in it is run.

    Args:
        path: the folder.
    """

    path: Path

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The content of config.json."""
        config = json.loads((self.path / "config.json").read_text())
        if not config["udonx"]:
            raise StageError(f"{display_path(self.path)} is half an export; export it again")
        return config

    @cached_property
    def hashes(self) -> dict[str, str]:
        """The sha256 of the files with tensors."""
        files = (self.path / name for name in _TENSORS)
        return {file.name: sha256_file(file) for file in files if file.is_file()}

    @property
    def id(self) -> str:
        """What it is known by: all that its embeddings depend on."""
        return digest({"export": dict(self.config), "tensors": self.hashes})

    @property
    def learned(self) -> frozenset[str] | None:
        """The domains that it was trained on; None of a backbone off the shelf."""
        ours = self.config["udonx"]
        # earlier exports do not say it: they were trained on these, most likely
        learned = ours.get("learned", ours["domains"])
        return None if learned is None else frozenset(learned)

    @property
    def spec(self) -> StageSpec:
        """What embeds, in the words of a stage."""
        ours, statistics = self.config["udonx"], self.config["pretrained_cfg"]
        options = {
            "model": self.config["architecture"],
            "kwargs": self.config.get("model_args") or None,
        }
        head = ours["head"]
        return StageSpec(
            domains=tuple(ours["domains"]),
            backbone=BackboneSpec(
                use="timm",
                options={key: item for key, item in options.items() if item},
                weights=self.hashes.get("model.safetensors", ""),
                mean=tuple(statistics["mean"]),
                std=tuple(statistics["std"]),
            ),
            transform=Transform(
                crop=ours["crop"], orientation="exif" if ours["upright"] else "stored"
            ),
            precision=ours["precision"],
            student_head=None if head is None else HeadSpec(use="exported", dim=head["dim"]),
        )

    def weigh(self) -> str:
        """What its tensors are known by."""
        return digest(self.hashes)

    def load(self, device: torch.device) -> ExportedModel:
        """The model, ready for use.

        Raises:
            StageError: a file is missing or damaged.
        """
        try:
            return ExportedModel(Embedding.load(self.path, str(device)))
        except Exception as error:  # timm, torch and safetensors raise many kinds
            if sentence_of(error) is not None:
                raise
            why = " ".join(str(error).split())
            raise StageError(
                f"{display_path(self.path)} is no whole export ({why}); export it again with"
                " --overwrite"
            ) from error

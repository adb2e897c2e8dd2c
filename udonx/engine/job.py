"""A stage to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import torch

from registry.contracts import StageSpec
from udonx.data.benchmark import Benchmark
from udonx.data.images import ImageStore
from udonx.data.loader import BatchLoader
from udonx.engine.hooks import Hook
from udonx.store.stage import StageFolder


@attrs.frozen(kw_only=True)
class Job:
    """A stage to run.

    Attributes:
        spec: What the stage is.
        id: Its identity.
        title: What it is called in lines that people read.
        folder: Where it is kept.
        benchmark: Its data.
        store: Where its images are loaded from.
        device: Where it runs.
        workers: Threads that load images.
        weights: The folder of its start weights; None where they are random.
        teachers: The folders of its teachers' stages, in the order of `spec.teachers`.
        plugins: The plug-ins that were imported, kept in the stage's folder.
        manifest: The hash of each domain's split files.
        checkpoint_seconds: What lies between two checkpoints at most, but for the time that a step
            or a validation takes.
        hooks: Who listens to the training loop.
    """

    spec: StageSpec
    id: str
    title: str
    folder: StageFolder
    benchmark: Benchmark
    store: ImageStore
    device: torch.device
    workers: int
    weights: Path | None = None
    teachers: tuple[StageFolder, ...] = ()
    plugins: tuple[str, ...] = ()
    manifest: dict[str, str] = attrs.field(factory=dict)
    checkpoint_seconds: float = 300.0
    hooks: tuple[Hook, ...] = ()

    def loader(self, unreadable: Mapping[str, Sequence[str]]) -> BatchLoader:
        """What loads the training batches of the stage.

        Args:
            unreadable: Images by domain that are known not to be decodable.
        """
        spec, training = self.spec, self.spec.required_training
        return BatchLoader(
            self.benchmark,
            self.store,
            spec.domains,
            spec.transform,
            training.batch,
            spec.seed or 0,
            self.workers,
            pin=self.device if self.device.type == "cuda" else None,
            unreadable=unreadable,
        )

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


def teacher_sizes(spec: StageSpec) -> list[int]:
    """The edges at which the named teachers of a stage see its images, where not at its own."""
    named = (teacher.stage for teacher in spec.teachers if teacher.name is not None)
    return sorted({stage.transform.crop for stage in named} - {spec.transform.crop})


@attrs.frozen(kw_only=True)
class Job:
    """A stage to run.

    Attributes:
        spec: what the stage is.
        id: its identity.
        title: what it is called in lines that people read.
        folder: where it is kept.
        benchmark: its data.
        store: where its images are loaded from.
        device: where it runs.
        workers: threads that load images.
        start_folder: the folder of its start weights; None where they are random.
        teachers: the folders of its teachers' stages, in the order of `spec.teachers`.
        sources: the folders of the stages that it starts from, in the order of `spec.init`.
        plugins: the plug-ins that were imported, kept in the stage's folder.
        manifest: the hash of each domain's split files.
        checkpoint_seconds: what lies between two checkpoints at most, but for the time that a step
            or a validation takes.
        hooks: who listens to the training loop.
    """

    spec: StageSpec
    id: str
    title: str
    folder: StageFolder
    benchmark: Benchmark
    store: ImageStore
    device: torch.device
    workers: int
    start_folder: Path | None = None
    teachers: tuple[StageFolder, ...] = ()
    sources: tuple[StageFolder, ...] = ()
    plugins: tuple[str, ...] = ()
    manifest: dict[str, str] = attrs.field(factory=dict)
    checkpoint_seconds: float = 300.0
    hooks: tuple[Hook, ...] = ()

    def loader(self, unreadable: Mapping[str, Sequence[str]]) -> BatchLoader:
        """What loads the training batches of the stage.

        Args:
            unreadable: images by domain that are known not to be decodable.
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
            per_class=training.per_class,
            sizes=teacher_sizes(spec),
        )

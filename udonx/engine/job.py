"""A stage to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import torch

from registry.contracts import StageSpec
from udonx.data.benchmark import Benchmark
from udonx.data.images import ImageStore
from udonx.store.stage import StageFolder


@attrs.frozen(kw_only=True)
class Job:
    """A stage to run: its spec and identity, where it is kept, its data, and where it runs.
    `weights` is the folder of the start weights; `teachers` are the folders of the earlier stages
    in the order of `spec.teachers`; `summary` is told (key, value, step) of the few figures that a
    run record keeps; `manifest` hashes the split files of each domain; `checkpoint_seconds` are
    between two checkpoints at most, but for the time that a step or a validation takes.
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
    quiet: bool = False
    checkpoint_seconds: float = 300.0
    summary: Callable[[str, float, int], None] = lambda key, value, step: None

"""A stage to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs
import torch

from registry.contracts import StageSpec
from udonx.data.benchmark import Benchmark
from udonx.data.images import ImageStore
from udonx.store.stage import StageFolder


class Timer(Protocol):
    """Is told how long the parts of a stage took; see `udonx.forecast.costs.StageTimer`."""

    def lap(self, first: int, last: int, seconds: float) -> None:
        """The 0-based steps `first` to `last` - 1 took so long."""

    def embedded(self, images: int, seconds: float) -> None:
        """So many images were embedded and searched in so long."""

    def save(self) -> None:
        """Keep what was measured so far."""


class NoTimer:
    """Keeps nothing."""

    def lap(self, first: int, last: int, seconds: float) -> None:
        """Forget it."""

    def embedded(self, images: int, seconds: float) -> None:
        """Forget it."""

    def save(self) -> None:
        """Keep nothing."""


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
    checkpoint_seconds: float = 300.0
    timer: Timer = attrs.field(factory=NoTimer)
    summary: Callable[[str, float, int], None] = lambda key, value, step: None

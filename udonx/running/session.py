"""What the tables and rows of one call share."""

from __future__ import annotations

import importlib.metadata
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import torch

import udonx
from udonx.data.images import ImageStore
from udonx.engine.device import loading_threads
from udonx.forecast.left import TimeLeft
from udonx.planning.plan import Plan, PlannedRow
from udonx.running.events import Listener, RowId, ignore
from udonx.running.options import RunOptions
from udonx.running.record import git_state
from udonx.store.results import Results


@attrs.frozen(slots=False)
class Session:
    """One call: how it runs, on what, and what has failed in it.

    Attributes:
        options: how it runs.
        device: where it runs.
        failed_stages: why a stage could not be trained, by its id: none is tried twice.
        tell: hears what happens.
        left: how long the rows take from here on; None where nobody asks.
    """

    options: RunOptions
    device: torch.device
    failed_stages: dict[str, str] = attrs.field(factory=dict)
    tell: Listener = ignore
    left: TimeLeft | None = None

    @cached_property
    def results(self) -> Results:
        """The results folder."""
        return Results(self.options.results)

    @property
    def workers(self) -> int:
        """Threads that load images."""
        return self.options.workers or loading_threads(self.device)

    @cached_property
    def git(self) -> dict[str, Any] | None:
        """The commit of the working directory."""
        return git_state(Path.cwd())


@attrs.frozen
class PlanRun:
    """A plan that is run in a session, with the images that it reads."""

    plan: Plan
    images: ImageStore
    session: Session


def row_title(planned: PlannedRow) -> str:
    """A row and its seed, as people read it."""
    return planned.row.label + (f", seed {planned.seed}" if planned.seed is not None else "")


def row_id(planned: PlannedRow, plan: Plan) -> RowId:
    """A row and its seed, as events name it."""
    return RowId(
        table=plan.experiment.name,
        row=planned.row.name,
        seed=planned.seed,
        title=row_title(planned),
    )


def versions() -> dict[str, str]:
    """The versions that figures may depend on."""
    return {
        "udonx": udonx.__version__,
        **{name: importlib.metadata.version(name) for name in ("torch", "timm")},
    }

"""Reading a stage's checkpoint: one that cannot be believed is said, never used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from udonx.common.files import DamagedFileError
from udonx.engine.job import Job
from udonx.store.stage import RETRAIN

logger = logging.getLogger(__name__)


def read_checkpoint(job: Job) -> dict[str, Any] | None:
    """The checkpoint, None where there is none, or (which is said) none that can be read."""
    try:
        return job.folder.load_state(job.device) if job.folder.started else None
    except DamagedFileError as error:
        logger.warning(f"{job.title}: {error}; the stage starts anew")
        return None


@contextmanager
def reading_checkpoint(job: Job) -> Iterator[None]:
    """What fails within, because a checkpoint does not hold what it should, becomes a
    DamagedFileError.
    """
    try:
        yield
    except (KeyError, TypeError, RuntimeError) as error:
        why = (
            f"is no checkpoint of this stage ({type(error).__name__}:"
            f" {' '.join(str(error).split())})"
        )
        raise DamagedFileError(job.folder.path / "state.pt", why, RETRAIN) from error

"""The checkpoint of a stage: when it is due, how it is written, and read if it can be believed."""

from __future__ import annotations

import logging
import time
from typing import Any, Protocol

from udonx.common.files import DamagedFileError
from udonx.common.interrupts import Stopped
from udonx.engine.job import Job
from udonx.store.stage import RETRAIN

logger = logging.getLogger(__name__)


class Resumable(Protocol):
    """What continues from a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue, tensors and plain data."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""


class Checkpoint:
    """state.pt of a stage that is under way.

    Args:
        job: the stage. Its log belongs to the checkpoint: it is cut back with it.
        state: what the checkpoint keeps.
    """

    def __init__(self, job: Job, state: Resumable) -> None:
        self.job, self.state = job, state
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last one is older than the job allows."""
        return time.monotonic() - self._saved > self.job.checkpoint_seconds

    def save(self) -> None:
        """Write it in place of the one before."""
        folder = self.job.folder
        folder.save_state({**self.state.state_dict(), "log": folder.log_size()})
        self._saved = time.monotonic()

    def restore(self) -> bool:
        """Continue from the checkpoint; False where there is none that can be read.

        Raises:
            DamagedFileError: it can be read, but is none of this stage.
        """
        kept = self._read()
        if kept is None:
            self.job.folder.cut_log(0)
            return False
        try:
            self.state.load_state_dict(kept)
        except (KeyError, TypeError, RuntimeError) as error:
            why = " ".join(str(error).split())
            raise DamagedFileError(
                self.job.folder.path / "state.pt",
                f"is no checkpoint of this stage ({type(error).__name__}: {why})",
                RETRAIN,
            ) from error
        self.job.folder.cut_log(kept.get("log", 0))
        self._saved = time.monotonic()
        return True

    def _read(self) -> dict[str, Any] | None:
        """The checkpoint; None where there is none, or a damaged one, which is logged."""
        folder = self.job.folder
        try:
            return folder.load_state(self.job.device) if folder.started else None
        except DamagedFileError as error:
            logger.warning(f"{self.job.title}: {error}; the stage starts anew")
            return None


def stopped(job: Job, signal: int, where: str) -> Stopped:
    """What is raised once a checkpoint is written because of a signal.

    Args:
        job: the stage.
        signal: the signal's number.
        where: what is done, such as "step 3 of 10".
    """
    return Stopped(signal, f"{job.title}: stopped after {where}; the same command continues there")

"""`--fresh`: a call's stages are trained again, and what learned from them is removed.

A call that was stopped goes on when given again.

While a fresh call is under way, results/fresh/ holds a file for it. It is written once everything
is removed: a process that is killed before has trained nothing yet, and the next one removes
everything again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from udonx.common.files import DamagedFileError
from udonx.common.json_files import write_json
from udonx.config.problems import ConfigError, Problem
from udonx.planning.identity import digest, from_plain, stage_id
from udonx.planning.plan import Plan
from udonx.planning.stages import with_earlier
from udonx.store.lock import StageLock
from udonx.store.results import Results
from udonx.store.stage import StageFolder

logger = logging.getLogger(__name__)


class FreshCall:
    """A call with `--fresh`.

    It is known by its stages, so that the same command, given again, is the same call.
    """

    def __init__(self, plans: Sequence[Plan], results: Results) -> None:
        self.plans, self.results = plans, results
        self.stages = sorted({identity for plan in plans for identity in plan.stages})
        self.file: Path = results.root / "fresh" / f"{digest(self.stages)}.json"

    def begin(self) -> None:
        """Remove the stages of the call and every evaluation of them.

        Nothing is removed where an earlier call did so and was stopped before its end.

        Raises:
            ConfigError: another process trains or reads one of them; nothing was removed.
        """
        if self.file.exists() and self._unfinished():
            logger.info("--fresh: goes on with the call that was stopped")
            return
        learners = _learners(self.results, set(self.stages))
        forgotten = [*self.stages, *learners]
        with ExitStack() as held:
            for identity in forgotten:
                lock = held.enter_context(StageLock(self.results.stage(identity).path))
                if not lock.acquire():
                    message = (
                        f"stage {identity} is in use by {lock.holder()}; wait for it or stop it;"
                        " nothing was removed"
                    )
                    raise ConfigError([Problem(where="--fresh", message=message)])
            self.results.forget_evaluations(set(forgotten))
            for identity in forgotten:
                self.results.stage(identity).clear()
        write_json(self.file, {"stages": self.stages})
        if learners:
            theirs = (
                f"{len(learners)} stage{'s' * (len(learners) != 1)} of other tables that learned"
                " from these"
            )
            logger.info(
                f"--fresh: also removed {theirs} ({', '.join(learners)}); give their commands again"
                " to train them"
            )

    def end(self) -> None:
        """The call is through: the next one begins anew."""
        self.file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # of another call
            self.file.parent.rmdir()

    def _unfinished(self) -> bool:
        rows = [row for plan in self.plans for row in plan.rows]
        evaluations = {evaluation.id for row in rows for evaluation in row.evaluations}
        trained = all(self.results.stage(identity).finished for identity in self.stages)
        return not trained or not all(map(self.results.has_evaluation, evaluations))


def _learners(results: Results, stages: set[str]) -> list[str]:
    """The stages of `results` beside `stages` that learned or started from one of them.

    They did so directly or through others.
    """
    folders = sorted(
        path for path in (results.root / "stages").glob("*") if path.name not in stages
    )
    return [path.name for path in folders if stages & _earlier(StageFolder(path))]


def _earlier(folder: StageFolder) -> set[str]:
    """The ids of all stages that a stage has learned or started from.

    There are none where its model.json cannot be read.
    """
    try:
        model = folder.read_model()
        spec = from_plain(model.spec)
        return {
            stage_id(reached, model.data.__getitem__)
            for earlier in spec.earlier
            for reached in with_earlier(earlier)
        }
    except (DamagedFileError, OSError, ValueError, TypeError, KeyError):
        return set()

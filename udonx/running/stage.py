"""One stage: trained where it is missing, waited for where another process trains it."""

from __future__ import annotations

import logging
import time

import attrs

from udonx.common.errors import describe_error, sentence_of
from udonx.engine.errors import TrainingError
from udonx.engine.job import Job
from udonx.engine.train import run_stage
from udonx.forecast.costs import stage_timers
from udonx.planning.plan import PlannedRow
from udonx.planning.stages import stage_title, training_data, with_earlier
from udonx.running.events import RowChanged
from udonx.running.figures import RowFigures, StageFigures
from udonx.running.session import PlanRun, row_id, row_title
from udonx.running.watch import StageWatch
from udonx.store.lock import POLL_SECONDS, StageLock

logger = logging.getLogger(__name__)


@attrs.frozen
class StageRun:
    """A stage that a row needs.

    Attributes:
        identity: the stage.
        planned: the row.
        context: the plan that it is of, and how that is run.
        figures: who keeps its figures.
    """

    identity: str
    planned: PlannedRow
    context: PlanRun
    figures: RowFigures

    @property
    def title(self) -> str:
        """What it is called in lines that people read."""
        spec = self.context.plan.stages[self.identity]
        return f"{row_title(self.planned)}: {stage_title(spec)}"

    def hold(self) -> StageLock:
        """Train the stage unless it is there.

        Returns:
            Its lock, shared with all who read it: nobody removes it while it is held.
        """
        session = self.context.session
        folder = session.results.stage(self.identity)
        reading = StageLock(folder.path, shared=True)
        while True:
            if folder.done is not None and reading.acquire():
                if folder.done is not None:
                    if session.left is not None:
                        session.left.done(self.identity)
                    return reading
                reading.release()
            with StageLock(folder.path) as lock:
                if not lock.acquire():
                    self._wait(lock)
                elif not folder.finished:
                    self._train()

    def _wait(self, lock: StageLock) -> None:
        why = f"waiting for {lock.holder()}"
        logger.info(f"{self.title}: {why}")
        row, tell = row_id(self.planned, self.context.plan), self.context.session.tell
        tell(RowChanged(row=row, state="waiting", why=why))
        time.sleep(POLL_SECONDS)
        tell(RowChanged(row=row, state="running"))

    def _train(self) -> None:
        failed = self.context.session.failed_stages
        if self.identity in failed:
            raise TrainingError(f"it needs a stage that failed: {failed[self.identity]}")
        watch = StageWatch(self.identity, self.planned, self.context)
        watch.begin()
        try:
            run_stage(self._job(watch))
        except Exception as error:
            failed[self.identity] = f"{self.title}: {sentence_of(error) or describe_error(error)}"
            raise
        watch.end()

    def _job(self, watch: StageWatch) -> Job:
        plan, session = self.context.plan, self.context.session
        spec = plan.stages[self.identity]
        teachers = (plan.identity(teacher.stage) for teacher in spec.teachers)
        sources = map(plan.identity, spec.init.stages if spec.init else ())
        domains = dict.fromkeys(name for stage in with_earlier(spec) for name in stage.domains)
        return Job(
            spec=spec,
            id=self.identity,
            title=self.title,
            folder=session.results.stage(self.identity),
            benchmark=training_data(spec, plan.benchmark),
            store=self.context.images,
            device=session.device,
            workers=session.workers,
            start_folder=plan.weights_of(spec).folder,
            teachers=tuple(map(session.results.stage, teachers)),
            sources=tuple(map(session.results.stage, sources)),
            plugins=plan.experiment.plugins,
            manifest={domain: plan.identities.training_manifest(domain) for domain in domains},
            checkpoint_seconds=60 * session.options.checkpoint_minutes,
            hooks=(
                StageFigures(
                    self.figures,
                    stage_title(spec).replace(" ", "_"),
                    spec.training.steps if spec.training else 1,
                ),
                watch,
                *stage_timers(spec, plan.benchmark, session.device, session.workers),
            ),
        )

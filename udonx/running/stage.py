"""One stage: trained where it is missing, waited for where another process trains it."""

from __future__ import annotations

import logging
import time
from typing import Any

from udonx.common.errors import describe_error, sentence_of
from udonx.engine.errors import TrainingError
from udonx.engine.job import Job
from udonx.engine.train import run_stage
from udonx.forecast.costs import stage_timers
from udonx.planning.stages import stage_title, with_earlier
from udonx.running.record import StageFigures
from udonx.running.session import PlanRun
from udonx.store.lock import POLL_SECONDS, StageLock

logger = logging.getLogger(__name__)


def hold_stage(identity: str, row: str, context: PlanRun, record: Any) -> StageLock:
    """Train a stage unless it is there.

    Args:
        identity: the stage.
        row: the title of the row that needs it.
        context: the plan that it is of, and how that is run.
        record: the run of the record.

    Returns:
        Its lock, shared with all who read it: nobody removes it while it is held.
    """
    folder = context.session.results.stage(identity)
    title = f"{row}: {stage_title(context.plan.stages[identity])}"
    reading = StageLock(folder.path, shared=True)
    while True:
        if folder.done is not None and reading.acquire():
            if folder.done is not None:
                return reading
            reading.release()
        with StageLock(folder.path) as lock:
            if not lock.acquire():
                logger.info(f"{title}: waiting for {lock.holder()}")
                time.sleep(POLL_SECONDS)
            elif not folder.finished:
                _train(identity, title, context, record)


def _train(identity: str, title: str, context: PlanRun, record: Any) -> None:
    failed = context.session.failed_stages
    if identity in failed:
        raise TrainingError(f"it needs a stage that failed: {failed[identity]}")
    try:
        run_stage(_job(identity, title, context, record))
    except Exception as error:
        failed[identity] = f"{title}: {sentence_of(error) or describe_error(error)}"
        raise


def _job(identity: str, title: str, context: PlanRun, record: Any) -> Job:
    plan, session, spec = context.plan, context.session, context.plan.stages[identity]
    teachers = (plan.identity(teacher.stage) for teacher in spec.teachers)
    sources = map(plan.identity, spec.init.stages if spec.init else ())
    domains = dict.fromkeys(name for stage in with_earlier(spec) for name in stage.domains)
    return Job(
        spec=spec,
        id=identity,
        title=title,
        folder=session.results.stage(identity),
        benchmark=plan.benchmark,
        store=context.images,
        device=session.device,
        workers=session.workers,
        start_folder=plan.weights_of(spec).folder,
        teachers=tuple(map(session.results.stage, teachers)),
        sources=tuple(map(session.results.stage, sources)),
        plugins=plan.experiment.plugins,
        manifest={domain: plan.identities.training_manifest(domain) for domain in domains},
        checkpoint_seconds=60 * session.options.checkpoint_minutes,
        hooks=(
            StageFigures(record, stage_title(spec).replace(" ", "_")),
            *stage_timers(spec, plan.benchmark, session.device, session.workers),
        ),
    )

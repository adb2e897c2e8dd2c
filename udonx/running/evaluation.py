"""One evaluation: its test images are embedded and searched, and the figures kept."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence

import attrs

from registry import metrics as registered
from udonx.common.progress import Report
from udonx.data.images import ImageStore
from udonx.engine.device import describe, loading_threads
from udonx.engine.models import ModelSource, StageSource
from udonx.evaluation.kept import KeptEmbeddings
from udonx.evaluation.neighbours import KEPT_NEIGHBOURS
from udonx.evaluation.protocol import Embedder, evaluate, image_count
from udonx.forecast.costs import Timings, embed_kind
from udonx.planning.plan import Identities, PlannedEvaluation, PlannedRow
from udonx.running.session import PlanRun, Session, row_title, versions
from udonx.store.results import Results

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class EvaluationJob:
    """All that one evaluation needs.

    Attributes:
        evaluation: what is embedded with what.
        models: what embeds, by id.
        identities: the identities of the benchmark that is searched.
        images: its images.
        metrics: names of the metrics that are wanted.
        session: how it runs, and where the figures are kept.
        title: what it is called while it runs.
        row: the row that it is made for; empty for none.
        seed: the training seed that it is made for.
    """

    evaluation: PlannedEvaluation
    models: Mapping[str, ModelSource]
    identities: Identities
    images: ImageStore
    metrics: Sequence[str]
    session: Session
    title: str
    row: str = ""
    seed: int | None = None


def is_made(evaluation: PlannedEvaluation, metrics: Iterable[str], results: Results) -> bool:
    """Whether an evaluation is there, whole; what is wrong with it is logged."""
    if results.has_evaluation(evaluation.id, metrics):
        # left by a process that was killed when all was done
        shutil.rmtree(results.embeddings(evaluation.id), ignore_errors=True)
        return True
    if problem := results.evaluation_problem(evaluation.id):
        logger.warning(problem)
    return False


def evaluate_row(planned: PlannedRow, evaluation: PlannedEvaluation, context: PlanRun) -> None:
    """Make one evaluation of a row.

    Args:
        planned: the row and its seed.
        evaluation: which of its evaluations.
        context: the plan that it is of, and how that is run.
    """
    plan, results = context.plan, context.session.results
    which = f" of the {evaluation.spec.branch}" if len(planned.evaluations) > 1 else ""
    make_evaluation(
        EvaluationJob(
            evaluation=evaluation,
            models={
                name: StageSource(results.stage(name)) for name in set(evaluation.stages.values())
            },
            identities=plan.identities,
            images=context.images,
            metrics=plan.experiment.metrics,
            session=context.session,
            title=f"{row_title(planned)}: evaluation{which}",
            row=planned.row.name,
            seed=planned.seed,
        )
    )


def make_evaluation(job: EvaluationJob) -> None:
    """Embed and search the test images of an evaluation, and keep its figures."""
    evaluation, session, sources = job.evaluation, job.session, job.models
    results, benchmark = session.results, job.identities.benchmark
    models = {name: source.load(session.device) for name, source in sources.items()}
    embedders = {
        domain: Embedder(models[identity], evaluation.spec.branch, evaluation.spec.tta)
        for domain, identity in evaluation.stages.items()
    }
    total = image_count(benchmark, embedders, "test")
    began = time.monotonic()
    weights = {identity: source.weigh() for identity, source in sources.items()}
    embedding = {domain: weights[identity] for domain, identity in evaluation.stages.items()}
    kept = KeptEmbeddings(results.embeddings(evaluation.id), embedding)
    with Report(job.title, total, "images") as report:
        result = evaluate(
            embedders,
            benchmark,
            job.images,
            "test",
            merged=evaluation.spec.merged,
            device=session.device,
            workers=session.workers,
            metrics=results.metrics_to_compute(evaluation.id, job.metrics),
            tick=report.tick,
            kept=kept,
            neighbours=KEPT_NEIGHBOURS,
        )
        assert result is not None, "it was checked before that there are test images"
        seconds = time.monotonic() - began
        means = result.main.means
        report.note(
            ", ".join(
                f"{registered.get(name).label} {100 * means[name]:.1f}" for name in job.metrics
            )
        )
    # see udonx/forecast/costs.py
    usual = session.workers == loading_threads(session.device) and evaluation.spec.tta is None
    if usual and not kept.loaded:
        # a row has one backbone, so their kinds are all the same
        spec, *_ = evaluation.spec.embedders.values()
        kind = embed_kind(spec, benchmark)
        Timings(describe(session.device)).add([(kind, seconds, total)])
    about = {
        "stages": evaluation.stages,
        "branch": evaluation.spec.branch,
        "tta": evaluation.spec.tta,
        "row": job.row,
        "seed": job.seed,
        "data": {domain: job.identities.test_manifest(domain) for domain in embedders},
        "versions": versions(),
    }
    results.write_evaluation(evaluation.id, result, about)
    kept.clear()

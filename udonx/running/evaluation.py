"""One evaluation of a row: its test images are embedded and searched, and the figures kept."""

from __future__ import annotations

import time

from registry import metrics
from udonx.common.progress import Report
from udonx.engine.device import describe, loading_threads
from udonx.engine.load import load_stage
from udonx.evaluation.kept import KeptEmbeddings
from udonx.evaluation.protocol import Embedder, evaluate, image_count
from udonx.forecast.costs import Timings, embed_kind
from udonx.planning.plan import PlannedEvaluation, PlannedRow
from udonx.running.session import PlanRun, row_title, versions


def evaluate_row(planned: PlannedRow, evaluation: PlannedEvaluation, context: PlanRun) -> None:
    """Make one evaluation of a row.

    Args:
        planned: the row and its seed.
        evaluation: which of its evaluations.
        context: the plan that it is of, and how that is run.
    """
    plan, session, results = context.plan, context.session, context.session.results
    stages = {identity: results.stage(identity) for identity in set(evaluation.stages.values())}
    models = {name: load_stage(folder, session.device) for name, folder in stages.items()}
    embedders = {
        domain: Embedder(models[identity], evaluation.spec.branch)
        for domain, identity in evaluation.stages.items()
    }
    wanted, total = plan.experiment.metrics, image_count(plan.benchmark, embedders, "test")
    began = time.monotonic()
    weights = {identity: folder.weigh_best().sha256 for identity, folder in stages.items()}
    embedding = {domain: weights[identity] for domain, identity in evaluation.stages.items()}
    kept = KeptEmbeddings(results.embeddings(evaluation.id), embedding)
    which = f" of the {evaluation.spec.branch}" if len(planned.evaluations) > 1 else ""
    with Report(f"{row_title(planned)}: evaluation{which}", total, "images") as report:
        result = evaluate(
            embedders,
            plan.benchmark,
            context.images,
            "test",
            merged=evaluation.spec.merged,
            device=session.device,
            workers=session.workers,
            metrics=results.metrics_to_compute(evaluation.id, wanted),
            tick=report.tick,
            kept=kept,
        )
        assert result is not None, "the preflight saw to it that there are test images"
        seconds = time.monotonic() - began
        means = result.main.means
        report.note(
            ", ".join(f"{metrics.get(name).label} {100 * means[name]:.1f}" for name in wanted)
        )
    # see udonx/forecast/costs.py
    if session.workers == loading_threads(session.device) and not kept.loaded:
        # a row has one backbone, so their kinds are all the same
        spec, *_ = evaluation.spec.embedders.values()
        kind = embed_kind(spec, plan.benchmark)
        Timings(describe(session.device)).add([(kind, seconds, total)])
    about = {
        "stages": evaluation.stages,
        "branch": evaluation.spec.branch,
        "row": planned.row.name,
        "seed": planned.seed,
        "data": {domain: plan.identities.test_manifest(domain) for domain in embedders},
        "versions": versions(),
    }
    results.write_evaluation(evaluation.id, result, about)
    kept.clear()

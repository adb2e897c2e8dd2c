"""One row for one seed: its stages are trained, its evaluations made, and all of it is recorded."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import attrs

from udonx.common.files import sha256_file
from udonx.common.words import plural
from udonx.planning.plan import PlannedEvaluation, PlannedRow
from udonx.running.evaluation import evaluate_row, is_made
from udonx.running.events import EvaluationEnded, RowChanged
from udonx.running.figures import RowFigures
from udonx.running.record import Recorder, command_line
from udonx.running.session import PlanRun, row_id, row_title, versions
from udonx.running.stage import StageRun
from udonx.running.writers import RunWriters, WrittenRun
from udonx.store.results import Results, Run
from udonx.store.stage import StageFolder
from udonx.tables.question import Question

logger = logging.getLogger(__name__)


def run_row(
    planned: PlannedRow,
    context: PlanRun,
    recorder: Recorder,
    question: Question,
    write_table: Callable[[], Iterable[Path]] = lambda: (),
) -> None:
    """Make what is missing of a row, as one run of the record; nothing where all of it is there.

    Args:
        planned: the row and its seed.
        context: the plan that it is of, and how that is run.
        recorder: makes the run of the record.
        question: which question the row's table answers.
        write_table: writes the table with the row in it, and returns its files.

    Raises:
        DamagedFileError: a stage is damaged.
        TrainingError, DataError, ...: what went wrong; what was earned is kept.
    """
    session, title = context.session, row_title(planned)
    results, fresh = session.results, session.options.fresh
    # raises where one is damaged
    todo = [identity for identity in planned.stages if results.stage(identity).done is None]
    missing = _missing_evaluations(planned, context)
    entry = Run(
        file=question.file,
        setting=question.variant,
        row=planned.row.name,
        seed=planned.seed,
        stages=planned.stages,
        sacred_id=None,
        resumes=None,
    )
    before = _earlier_runs(entry, results)
    if todo or missing:
        reused = len(planned.stages) - len(todo)
        there = f", {reused} already there" if reused else ""
        logger.info(f"{title}: {plural(len(todo), 'stage')} to train{there}")
    else:
        logger.info(f"{title}: already there")
        if before:
            _tell_row("reused", planned, context)
            return
    session.tell(RowChanged(row=row_id(planned, context.plan), state="running"))
    begun = any(results.stage(identity).started for identity in todo)
    if before and (begun or not fresh):
        entry = attrs.evolve(entry, resumes=before[-1].sacred_id)

    def make(record: Any) -> dict[str, Any]:
        """Train and evaluate; every stage is held until the row's figures are recorded."""
        figures = RowFigures(record, writers)
        if (file := context.plan.experiment.path).is_file():
            record.add_resource(str(file))
        with ExitStack() as held:
            for identity in planned.stages:
                held.enter_context(StageRun(identity, planned, context, figures).hold())
            for evaluation in missing:
                evaluate_row(planned, evaluation, context)
                _tell_evaluation(evaluation, planned, context)
            outcome = _record_outcome(planned, results, figures)
            for file in write_table():
                record.add_artifact(str(file))
            return outcome

    config = _config(entry, planned, context)
    wanted = (*context.plan.experiment.writers, *session.options.writers)
    run = WrittenRun(
        results=results.root,
        table=str(question.folder),
        name=title,
        stages=planned.stages,
        config=config,
    )
    with RunWriters(tuple(dict.fromkeys(wanted)) if todo or missing else (), run) as writers:
        recorder.run(
            f"{context.plan.experiment.name}.{planned.row.name}",
            config,
            make,
            lambda sacred_id: results.append_run(attrs.evolve(entry, sacred_id=sacred_id)),
        )
    _tell_row("done" if todo or missing else "reused", planned, context)


def _tell_row(state: Literal["done", "reused"], planned: PlannedRow, context: PlanRun) -> None:
    """Tell that a row is there, with its R@1; a trial has none."""
    results, r1 = context.session.results, None
    if planned.evaluations:
        stored = results.read_evaluation(planned.evaluations[0].id)
        assert stored is not None, "it was made before, or just now"
        _, figures = stored.figures(own_index=planned.row.own_index)
        r1 = figures.means["r1"]
    context.session.tell(RowChanged(row=row_id(planned, context.plan), state=state, r1=r1))


def _tell_evaluation(evaluation: PlannedEvaluation, planned: PlannedRow, context: PlanRun) -> None:
    """Tell of an evaluation that was just made."""
    session = context.session
    if session.left is not None:
        session.left.done(evaluation.id)
    stored = session.results.read_evaluation(evaluation.id)
    assert stored is not None, "it was just made"
    _, figures = stored.figures(own_index=False)
    session.tell(
        EvaluationEnded(
            row=row_id(planned, context.plan),
            evaluation=evaluation.id,
            branch=evaluation.spec.branch,
            metrics=dict(figures.means),
        )
    )


def _missing_evaluations(planned: PlannedRow, context: PlanRun) -> list[PlannedEvaluation]:
    """The evaluations of a row that are not there, whole; what is wrong with one is logged."""
    metrics = context.plan.experiment.metrics
    return [
        evaluation
        for evaluation in planned.evaluations
        if not is_made(evaluation, metrics, context.session.results)
    ]


def _earlier_runs(entry: Run, results: Results) -> list[Run]:
    """The runs of the same row, seed and stages."""
    same = operator.attrgetter("file", "setting", "row", "seed", "stages")
    return [run for run in results.runs() if same(run) == same(entry)]


def _config(entry: Run, planned: PlannedRow, context: PlanRun) -> dict[str, Any]:
    """What the record says of a run."""
    plan, session = context.plan, context.session
    experiment, identities = plan.experiment, plan.identities
    return {
        "file": entry.file,
        "setting": entry.setting,
        "row": entry.row,
        "stages": entry.stages,
        "training_seed": planned.seed,  # Sacred has a key "seed" of its own
        "command": command_line(),
        "git": session.git,
        "resolved": planned.row.data,
        "backbone": attrs.asdict(experiment.backbones[planned.row.backbone]),
        "data": experiment.data.to_plain(),
        "manifest": {
            domain: {
                "training": identities.training_manifest(domain),
                "test": identities.test_manifest(domain),
            }
            for domain in plan.benchmark.domains
        },
        "resumes": entry.resumes,
        "plugins": list(experiment.plugins),
        "start_weights": {
            role: {"source": start.source, "sha256": start.sha256}
            for role, start in plan.start_weights.items()
        },
        "versions": versions(),
        "device": str(session.device),
    }


def _record_outcome(planned: PlannedRow, results: Results, figures: RowFigures) -> dict[str, Any]:
    """Give the record the figures of a row and where its weights lie; returns its result."""
    row: dict[str, Any] = {}
    record = figures.record
    steps = max((_steps(results.stage(identity)) for identity in planned.stages), default=0)
    for evaluation in planned.evaluations:
        branch, stored = evaluation.spec.branch, results.read_evaluation(evaluation.id)
        assert stored is not None, "it was made before, or just now"
        row[branch] = stored.to_plain()
        _, shown = stored.figures(own_index=False)
        values = {
            **{f"{branch}/{metric}": mean for metric, mean in shown.means.items()},
            **{f"{branch}/r1/{name}": each.r1 for name, each in shown.per_domain.items()},
        }
        figures.write("test", steps, values)
        file = results.evaluation(evaluation.id) / "metrics.json"
        record.add_artifact(file, name=f"{branch}_metrics.json")
    record.info["weights"] = {
        identity: _record_stage(identity, results, record) for identity in planned.stages
    }
    return row


def _record_stage(identity: str, results: Results, record: Any) -> dict[str, str]:
    """Give the record what a stage is; returns where its weights lie, and their hash."""
    stage = results.stage(identity)
    record.add_artifact(stage.path / "stage.toml", name=f"{identity}.stage.toml")
    for file in sorted(path for path in (stage.path / "plugins").rglob("*") if path.is_file()):
        name = ".".join(file.relative_to(stage.path).parts)
        record.add_artifact(file, name=f"{identity}.{name}")
    # earlier versions kept no hash
    kept = stage.done.weights if stage.done is not None else None
    return {"path": str(stage.best), "sha256": kept.sha256 if kept else sha256_file(stage.best)}


def _steps(stage: StageFolder) -> int:
    """The steps that a finished stage has been trained."""
    return stage.done.steps if stage.done is not None else 0

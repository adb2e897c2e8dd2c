"""What is left to do of one or more plans, as kinds and amounts of work (forecast/costs.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from registry.contracts import EvaluationSpec, StageSpec
from udonx.config.descriptions import describe
from udonx.data.benchmark import Benchmark
from udonx.evaluation.protocol import image_count
from udonx.forecast.costs import Work, embed_kind, held_steps, step_kind
from udonx.planning.plan import Plan
from udonx.store.results import Results

State = Literal["trained", "damaged", "started", "to train"]


@attrs.define(kw_only=True)
class PlannedStage:
    """A stage of one or more plans, and what is left to do of it.

    Nothing is left to do of one that is damaged: only a person may say that it is trained again.

    Attributes:
        id: its identity.
        spec: what it is.
        plan: the first plan that needs it.
        state: whether it is trained.
        done: after which step it goes on.
        work: what is left to do.
        users: the rows that use it.
    """

    id: str
    spec: StageSpec
    plan: Plan
    state: State
    done: int
    work: Work
    users: list[str]

    @property
    def steps(self) -> int:
        """The steps of its whole budget, done or not."""
        return self.spec.training.steps if self.spec.training else 0

    @property
    def images(self) -> int:
        """Images of its whole budget, counted as often as they are seen."""
        return self.steps * self.spec.training.batch if self.spec.training else 0

    @property
    def steps_left(self) -> int:
        """Steps from the last that its log holds to the end."""
        return 0 if self.state in ("trained", "damaged") else self.steps - self.done

    @property
    def images_left(self) -> int:
        """Images of the steps that are left."""
        return self.steps_left * self.spec.training.batch if self.spec.training else 0


@attrs.frozen(kw_only=True)
class Workload:
    """What is left to do of some plans.

    Attributes:
        stages: all stages, each once.
        evaluations: the work of each evaluation that is not there yet.
        skipped: the rows that are skipped, in words.
        damaged: what is wrong with finished stages.
    """

    stages: list[PlannedStage]
    evaluations: list[Work]
    skipped: list[str]
    damaged: list[str]


def workload(plans: Sequence[Plan], results: Results, *, fresh: bool = False) -> Workload:
    """What is left to do of `plans`; reads files, writes none.

    Args:
        plans: the plans.
        results: what is there already.
        fresh: whether all of it is done again.
    """
    stages: dict[str, PlannedStage] = {}
    evaluations: dict[str, Work] = {}
    skipped: list[str] = []
    # split files are large, so those that several plans share are read once
    benchmarks: dict[object, Benchmark] = {}
    for plan in plans:
        prefix = f"{plan.experiment.name}." if len(plans) > 1 else ""
        benchmark = benchmarks.setdefault(repr(plan.experiment.data), plan.benchmark)
        for identity, rows in plan.users.items():
            if identity not in stages:
                stages[identity] = _stage(identity, plan, benchmark, results, fresh)
            stages[identity].users += [f"{prefix}{row}" for row in rows]
        for evaluation in (evaluation for row in plan.rows for evaluation in row.evaluations):
            if evaluation.id not in evaluations and (
                fresh or not results.has_evaluation(evaluation.id, plan.experiment.metrics)
            ):
                evaluations[evaluation.id] = evaluation_work(evaluation.spec, benchmark)
        skipped += [
            f"{plan.experiment.name}: {line}" if prefix else line
            for line in plan.experiment.skipped(len(plan.benchmark.domains))
        ]
    damaged = [
        problem
        for stage in stages.values()
        if stage.state == "damaged" and (problem := results.stage(stage.id).problem)
    ]
    return Workload(
        stages=list(stages.values()),
        evaluations=list(evaluations.values()),
        skipped=skipped,
        damaged=damaged,
    )


def _stage(
    identity: str, plan: Plan, benchmark: Benchmark, results: Results, fresh: bool
) -> PlannedStage:
    spec, folder = plan.stages[identity], results.stage(identity)
    state: State = "to train"
    done = 0
    work: Work = []
    if not fresh and folder.finished:
        state = "damaged" if folder.problem else "trained"
    else:
        if not fresh and folder.started:
            state = "started"
            done = max((entry["step"] for entry in folder.read_log()), default=0)
        work = stage_work(spec, benchmark, done)
    return PlannedStage(
        id=identity, spec=spec, plan=plan, state=state, done=done, work=work, users=[]
    )


def fits_head(spec: StageSpec) -> bool:
    """Whether the student head of a stage is fitted on its training images."""
    head = spec.student_head
    return head is not None and describe("heads", head.use).facts["fitted"]


def stage_work(spec: StageSpec, benchmark: Benchmark, done: int = 0) -> Work:
    """What a stage does after its first `done` steps.

    These are steps without and with a backward pass of the backbone, and images embedded, to
    validate or to fit a head on.
    """
    images = embed_kind(spec, benchmark)
    if (training := spec.training) is None:
        fitted = spec.domains if fits_head(spec) else ()
        count = sum(domain.train_images for domain in benchmark.facts if domain.name in fitted)
        if spec.init is not None:  # what is taken over is validated once
            count += image_count(benchmark, spec.domains, "val")
        return [(images, count)]
    held, steps, every = held_steps(training), training.steps, training.validate_every
    validations = steps // every + (steps % every > 0) - done // every
    work = [
        (step_kind(spec, benchmark, backward=False), max(0, held - done)),
        (step_kind(spec, benchmark, backward=True), steps - max(held, done)),
        (images, validations * image_count(benchmark, spec.domains, "val")),
    ]
    return [(kind, count) for kind, count in work if count]


def evaluation_work(spec: EvaluationSpec, benchmark: Benchmark) -> Work:
    """The test images that an evaluation embeds and searches; a mirror image is one more."""
    views = 1 if spec.tta is None else 2
    return [
        (embed_kind(stage, benchmark), views * image_count(benchmark, [domain], "test"))
        for domain, stage in spec.embedders.items()
    ]

"""Time a few real steps of work that this machine has not measured: `udonx plan --measure`.

The engine's own loop runs on the real data, in a temporary folder, and keeps the costs as it does
in every run. Every image is decoded, as in a run over far more of them than stay in memory
(ImageStore). A run decodes a benchmark that fits once: its estimate is too high until a run has
measured more of it.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import attrs
import torch

from registry.contracts import StageSpec
from udonx.data.splits import PHASES
from udonx.engine.device import describe, loading_threads, repeatable
from udonx.engine.job import Job
from udonx.engine.loop import Loop
from udonx.engine.model import Model
from udonx.engine.train import prepare
from udonx.evaluation.protocol import EMBED_BATCH, Embedder, embed_paths
from udonx.forecast.costs import Timings, embed_kind, held_steps, stage_timers
from udonx.forecast.remaining import PlannedStage, Workload, stage_work
from udonx.inputs.open import open_images
from udonx.planning.identity import digest
from udonx.planning.plan import Plan
from udonx.planning.stages import stage_title, training_data
from udonx.store.results import Results
from udonx.store.stage import StageFolder

logger = logging.getLogger(__name__)

_LAPS = 3  # of steps of each kind; the first is warm-up (StageTimer)


def measure(todo: Workload, results: Results, device: torch.device) -> None:
    """Time every kind of work that is left and that nothing is known of.

    Args:
        todo: what is left to do.
        results: read, for teachers that are trained; never written.
        device: where the steps run.

    Raises:
        DataError: an image cannot be read.
        TrainingError: the loss is not finite.
    """
    stages = list(_unknown(todo, Timings(describe(device))))
    if not stages:
        logger.info(
            "nothing to time: this machine has measured all of it, or nothing is left to do"
        )
    with repeatable(device), tempfile.TemporaryDirectory(prefix="udonx-measure-") as folder:
        probe = _Probe(results, device, Path(folder))
        for number, stage in enumerate(stages, start=1):
            logger.info(
                f"timing a few steps, {number} of {len(stages)}: {stage_title(stage.spec)}"
                f" ({', '.join(stage.users)})"
            )
            probe.run(stage)


def _unknown(todo: Workload, timings: Timings) -> Iterator[PlannedStage]:
    """The first stage of each kind of work that is left and not known."""
    work = [
        part for one in (*(stage.work for stage in todo.stages), *todo.evaluations) for part in one
    ]
    needed = {digest(kind) for kind, count in work if count and not timings.knows(kind)}
    for stage in todo.stages:
        kinds = [kind for kind, _ in stage_work(stage.spec, stage.plan.benchmark)]
        shown = {digest(kind) for kind in (*kinds, embed_kind(stage.spec, stage.plan.benchmark))}
        if shown & needed:
            needed -= shown
            yield stage


class _Probe:
    """Runs stages for a few steps below a temporary folder."""

    def __init__(self, results: Results, device: torch.device, folder: Path) -> None:
        self.results, self.device, self.folder = results, device, folder
        self.threads = loading_threads(device)
        # steps: two batches of each thread, so that waiting for images shows in every lap
        self.lap = max(4, 2 * self.threads)

    def run(self, stage: PlannedStage) -> None:
        """Time a stage's steps, frozen and awake, and its embedding."""
        teachers = tuple(
            self._teacher(stage.plan, teacher.stage) for teacher in stage.spec.teachers
        )
        job = self._job(stage.plan, stage.spec, teachers)
        model = prepare(job)
        if stage.spec.training is not None:
            self._steps(job, model)
        if not Timings(describe(self.device)).knows(embed_kind(stage.spec, job.benchmark)):
            self._images(job, model)

    def _job(self, plan: Plan, spec: StageSpec, teachers: tuple[StageFolder, ...] = ()) -> Job:
        identity = plan.identity(spec)
        return Job(
            spec=attrs.evolve(spec, init=None),  # where it starts from changes no cost
            id=identity,
            title=f"timing {stage_title(spec)}",
            folder=StageFolder(self.folder / identity),
            benchmark=training_data(spec, plan.benchmark),
            store=open_images(plan.experiment, plan.benchmark, cache_bytes=0),
            device=self.device,
            workers=self.threads,
            start_folder=plan.weights_of(spec).folder,
            teachers=teachers,
        )

    def _teacher(self, plan: Plan, spec: StageSpec) -> StageFolder:
        """The trained teacher where there is one, else an untrained one, which costs the same."""
        stored = self.results.stage(plan.identity(spec))
        if stored.finished and stored.problem is None:
            return stored
        job = self._job(plan, spec)
        if not (job.folder.path / "best.safetensors").exists():
            job.folder.save_best(prepare(job).state_dict())
        return job.folder

    def _steps(self, job: Job, model: Model) -> None:
        training = job.spec.required_training
        held = _LAPS * self.lap if held_steps(training) else 0
        stop = held + _LAPS * self.lap
        steps = stop + 2 * self.threads + 1  # the loader is as busy in the last lap as amid a run
        optimiser = attrs.evolve(training.optimiser, frozen=held)
        short = attrs.evolve(training, steps=steps, optimiser=optimiser, validate_every=steps)
        spec = attrs.evolve(job.spec, training=short)
        timers = stage_timers(spec, job.benchmark, self.device, self.threads)
        loop = Loop(attrs.evolve(job, spec=spec, hooks=timers), model)
        loop.log_every = self.lap
        with closing(loop.steps()) as running:
            next(step for step in running if step == stop)
        for timer in timers:
            timer.save()

    def _images(self, job: Job, model: Model) -> None:
        benchmark, paths = job.benchmark, []
        # of every domain: their images differ in size
        each = 1 + EMBED_BATCH * (1 + self.threads) // len(job.spec.domains)
        for domain in job.spec.domains:
            names = [
                name for phase in PHASES for name in benchmark.evaluated_splits(domain, phase)
            ] or ["train"]
            paths += benchmark.split(domain, names[0]).paths[:each]
        embedder = Embedder(model.eval(), "feature")
        embed_paths(embedder, job.store, paths[:EMBED_BATCH], None, self.device, self.threads)
        timed = paths[EMBED_BATCH:] or paths
        began = time.monotonic()
        embed_paths(embedder, job.store, timed, None, self.device, self.threads)
        Timings(describe(self.device)).add(
            [(embed_kind(job.spec, benchmark), time.monotonic() - began, len(timed))]
        )

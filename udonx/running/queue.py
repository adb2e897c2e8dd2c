"""From an experiment to its table: plan, preflight, train what is missing, evaluate what is
missing, record, show.
"""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import time
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import torch

import udonx
from registry import metrics
from udonx.common.cache import cache_dir
from udonx.common.errors import sentence_of
from udonx.common.files import folder_problem, sha256_file, sweep
from udonx.common.interrupts import stoppable
from udonx.common.progress import Report
from udonx.common.words import clock
from udonx.config.experiment import Experiment
from udonx.config.problems import ConfigError, Problem
from udonx.data.images import ImageStore
from udonx.engine.device import choose, describe, loading_threads, repeatable
from udonx.engine.errors import TrainingError
from udonx.engine.job import Job
from udonx.engine.load import load_stage
from udonx.engine.train import run_stage
from udonx.evaluation.kept import KeptEmbeddings
from udonx.evaluation.protocol import Embedder, evaluate, image_count
from udonx.forecast.costs import Timings, embed_kind, stage_timers
from udonx.planning.plan import Plan, PlannedEvaluation, PlannedRow
from udonx.planning.stages import stage_title
from udonx.running.errors import RowsFailed
from udonx.running.fresh import FreshCall
from udonx.running.options import RunOptions
from udonx.running.preflight import preflight
from udonx.running.record import (
    Recorder,
    StageFigures,
    check_observers,
    command_line,
    git_state,
    log_figure,
)
from udonx.store.lock import StageLock
from udonx.store.results import Results, Run
from udonx.tables.kept import KeptTable
from udonx.tables.table import Table

logger = logging.getLogger(__name__)

_POLL_SECONDS = 2.0


def run_experiments(experiments: Sequence[Experiment], options: RunOptions) -> list[Table]:
    """Run resolved experiments one after the other; stages are shared between them through the
    results folder. Raises as `run` does.
    """
    device = choose(options.device)
    with repeatable(device), stoppable():
        return _run_experiments(experiments, options, device)


def _run_experiments(
    experiments: Sequence[Experiment],
    options: RunOptions,
    device: torch.device,
) -> list[Table]:
    problems = []
    if problem := folder_problem(options.results):
        problems.append(Problem(where="--results", message=problem))
        raise ConfigError(problems)
    for experiment in experiments:
        problems += [
            Problem(where=str(experiment.path), message=message)
            for message in check_observers(experiment.observers)
        ]
    stores: dict[str, ImageStore] = {}  # by data: images in memory outlive a table
    try:
        plans = preflight(experiments, options.results, stores)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    results = Results(options.results)
    results.log_damaged_runs()
    _tidy(plans, results)
    fresh = FreshCall(plans, results) if options.fresh else None
    if fresh:
        fresh.begin()
    failed_stages: dict[str, str] = {}
    runners = [
        _Runner(plan, options, device, stores[repr(plan.experiment.data)], failed_stages)
        for plan in plans
    ]
    tables = [runner.run() for runner in runners]
    if failures := {
        f"{runner.plan.experiment.name}: {what}": why
        for runner in runners
        for what, why in runner.failed.items()
    }:
        raise RowsFailed(tables, failures)
    if fresh:
        fresh.end()
    return tables


def _tidy(plans: Sequence[Plan], results: Results) -> None:
    """Remove what killed processes left behind: files half written, and checkpoints of finished
    stages.
    """
    for root in (results.root, cache_dir()):
        if root is not None:
            sweep(root)
    for folder in {results.stage(identity) for plan in plans for identity in plan.stages}:
        if folder.finished and folder.started:
            with StageLock(folder.path) as lock:
                if lock.acquire():
                    folder.tidy()


class _Runner:
    """Runs one plan. `failed_stages` says why a stage could not be trained, over all plans of a
    call: none is tried twice.
    """

    def __init__(
        self,
        plan: Plan,
        options: RunOptions,
        device: torch.device,
        store: ImageStore,
        failed_stages: dict[str, str],
    ) -> None:
        self.plan, self.options, self.device, self.store = plan, options, device, store
        self.results = Results(options.results)
        self.workers = options.workers or loading_threads(device)
        self.recorder = Recorder(self.results.root / "sacred", plan.experiment.observers)
        self.failed_stages = failed_stages
        self.failed: dict[str, str] = {}  # rows, as build_table takes them
        self.table = KeptTable(plan, self.results)
        self.git = git_state(Path.cwd())

    def run(self) -> Table:
        began = time.monotonic()
        for line in self.plan.experiment.skipped(len(self.plan.benchmark.domains)):
            logger.info(line)
        if not self.plan.rows:
            logger.info(
                f"{self.plan.experiment.path}: no row of this file is in the setting"
                f" '{self.plan.experiment.setting}'; nothing was run"
            )
            return self.table.shown()
        pending = deque(self.plan.rows)
        refused = 0
        while pending:
            planned = pending.popleft()
            if holder := self._held_elsewhere(planned):
                pending.append(planned)
                refused += 1
                if refused == len(pending):
                    logger.info(
                        f"{planned.row.label}: waiting for a stage that {holder} is training"
                    )
                if refused >= len(pending):
                    time.sleep(_POLL_SECONDS)
                continue
            refused = 0
            try:
                self._row(planned)
            except Exception as error:
                if self.options.fail_fast:
                    raise
                self._fail(_name(planned), error)
            self.table.write(self.failed)
        failed = (
            f", but {len(self.failed)} row{'s' * (len(self.failed) != 1)} failed"
            if self.failed
            else ""
        )
        places = f"{self.table.place()}; stages, evaluations and runs in {self.results.root}"
        logger.info(f"done{failed} in {clock(time.monotonic() - began)}; {places}")
        return self.table.shown(self.failed)

    def _fail(self, name: str, error: Exception) -> None:
        """Note why a row failed, and go on. An error that only a programmer can mend shows its
        traceback too.
        """
        if (sentence := sentence_of(error)) is None:
            traceback.print_exception(error)
        # training names the row itself
        self.failed[name] = (sentence or _in_words(error)).removeprefix(f"{name}: ")
        logger.error(f"{name}: failed: {self.failed[name]}; the other rows go on")

    def _held_elsewhere(self, planned: PlannedRow) -> str | None:
        for identity in planned.stages:
            folder = self.results.stage(identity)
            if not folder.finished and folder.path.exists():
                with StageLock(folder.path) as lock:
                    if not lock.acquire():
                        return lock.holder()
        return None

    def _row(self, planned: PlannedRow) -> None:
        # raises where one is damaged
        todo = [
            identity for identity in planned.stages if self.results.stage(identity).done is None
        ]
        missing = [
            evaluation
            for evaluation in planned.evaluations
            if not self.results.has_evaluation(evaluation.id, self.plan.experiment.metrics)
        ]
        for evaluation in missing:
            if problem := self.results.evaluation_problem(evaluation.id):
                logger.warning(problem)
        for evaluation in planned.evaluations:
            if evaluation not in missing:  # left by a process that was killed when all was done
                shutil.rmtree(self.results.embeddings(evaluation.id), ignore_errors=True)
        name, experiment, question = _name(planned), self.plan.experiment, self.table.question
        entry = {
            "file": question.file,
            "setting": question.variant,
            "row": planned.row.name,
            "seed": planned.seed,
            "stages": planned.stages,
        }
        before = [
            run
            for run in self.results.runs()
            if all(getattr(run, key) == value for key, value in entry.items())
        ]
        if not todo and not missing:
            logger.info(f"{name}: already there")
            if before:
                return
        else:
            reused = len(planned.stages) - len(todo)
            logger.info(
                f"{name}: {len(todo)} stage{'s' * (len(todo) != 1)} to train"
                + (f", {reused} already there" if reused else "")
            )
        begun = any(self.results.stage(identity).started for identity in todo)
        resumes = before[-1].sacred_id if before and (begun or not self.options.fresh) else None
        weights = {
            role: {"source": start.source, "sha256": start.sha256}
            for role, start in self.plan.weights.items()
        }
        identities = self.plan.identities
        config = {
            # Sacred has a key "seed" of its own
            **{key: value for key, value in entry.items() if key != "seed"},
            "training_seed": planned.seed,
            "command": command_line(),
            "git": self.git,
            "resolved": planned.row.data,
            "backbone": attrs.asdict(experiment.backbones[planned.row.backbone]),
            "data": experiment.data.to_plain(),
            "manifest": {
                domain: {
                    "training": identities.training_manifest(domain),
                    "test": identities.test_manifest(domain),
                }
                for domain in self.plan.benchmark.domains
            },
            "resumes": resumes,
            "plugins": list(experiment.plugins),
            "start_weights": weights,
            "versions": _versions(),
            "device": str(self.device),
        }
        self.recorder.run(
            f"{experiment.name}.{planned.row.name}",
            config,
            lambda run: self._work(planned, missing, name, run),
            lambda sacred_id: self.results.append_run(
                Run(**entry, sacred_id=sacred_id, resumes=resumes)
            ),
        )

    def _work(
        self, planned: PlannedRow, missing: list[PlannedEvaluation], name: str, record: Any
    ) -> dict[str, Any]:
        with ExitStack() as reading:
            for identity in planned.stages:
                reading.enter_context(self._stage(identity, name, record))
            return self._measure(planned, missing, name, record)

    def _measure(
        self, planned: PlannedRow, missing: list[PlannedEvaluation], name: str, record: Any
    ) -> dict[str, Any]:
        for evaluation in missing:
            self._evaluate(planned, evaluation, name)
        row: dict[str, Any] = {}
        for evaluation in planned.evaluations:
            stored = self.results.read_evaluation(evaluation.id)
            row[evaluation.spec.branch] = stored.to_plain()
            _, figures = stored.figures(own_index=False)
            for metric, mean in figures.means.items():
                log_figure(record, f"test.{evaluation.spec.branch}.{metric}", mean)
            record.add_artifact(
                self.results.evaluation(evaluation.id) / "metrics.json",
                name=f"{evaluation.spec.branch}_metrics.json",
            )
        weights = {}
        for identity in planned.stages:
            folder, best = self.results.stage(identity).path, self.results.stage(identity).best
            kept = self.results.stage(identity).done.weights
            weights[identity] = {
                "path": str(best),
                "sha256": kept.sha256 if kept else sha256_file(best),
            }
            record.add_artifact(folder / "stage.toml", name=f"{identity}.stage.toml")
            for file in sorted(path for path in (folder / "plugins").rglob("*") if path.is_file()):
                name = ".".join(file.relative_to(folder).parts)
                record.add_artifact(file, name=f"{identity}.{name}")
        record.info["weights"] = weights
        return row

    def _stage(self, identity: str, name: str, record: Any) -> StageLock:
        """Train a stage unless it is there. Returns its lock, shared with all who read it: nobody
        removes it while it is held.
        """
        folder, spec = self.results.stage(identity), self.plan.stages[identity]
        title = f"{name}: {stage_title(spec)}"
        reading = StageLock(folder.path, shared=True)
        while True:
            if folder.done is not None and reading.acquire():
                if folder.done is not None:
                    return reading
                reading.release()
            with StageLock(folder.path) as lock:
                if not lock.acquire():
                    logger.info(f"{title}: waiting for {lock.holder()}")
                    time.sleep(_POLL_SECONDS)
                elif not folder.finished:
                    self._train(identity, title, record)

    def _train(self, identity: str, title: str, record: Any) -> None:
        if identity in self.failed_stages:
            raise TrainingError(f"it needs a stage that failed: {self.failed_stages[identity]}")
        spec = self.plan.stages[identity]
        job = Job(
            spec=spec,
            id=identity,
            title=title,
            folder=self.results.stage(identity),
            benchmark=self.plan.benchmark,
            store=self.store,
            device=self.device,
            workers=self.workers,
            weights=self.plan.weights_of(spec).folder,
            teachers=tuple(
                self.results.stage(self.plan.identity(teacher.stage)) for teacher in spec.teachers
            ),
            plugins=self.plan.experiment.plugins,
            manifest={
                domain: self.plan.identities.training_manifest(domain) for domain in spec.domains
            },
            checkpoint_seconds=60 * self.options.checkpoint_minutes,
            hooks=(
                StageFigures(record, stage_title(spec).replace(" ", "_")),
                *stage_timers(spec, self.plan.benchmark, self.device, self.workers),
            ),
        )
        try:
            run_stage(job)
        except Exception as error:
            self.failed_stages[identity] = f"{title}: {sentence_of(error) or _in_words(error)}"
            raise

    def _evaluate(self, planned: PlannedRow, evaluation: PlannedEvaluation, name: str) -> None:
        models = {
            identity: load_stage(self.results.stage(identity), self.device)
            for identity in set(evaluation.stages.values())
        }
        embedders = {
            domain: Embedder(models[identity], evaluation.spec.branch)
            for domain, identity in evaluation.stages.items()
        }
        benchmark, wanted = self.plan.benchmark, self.plan.experiment.metrics
        total = image_count(benchmark, embedders, "test")
        began = time.monotonic()
        weights = {
            identity: self.results.stage(identity).weigh_best().sha256 for identity in models
        }
        embedding = {domain: weights[identity] for domain, identity in evaluation.stages.items()}
        kept = KeptEmbeddings(self.results.embeddings(evaluation.id), embedding)
        which = f" of the {evaluation.spec.branch}" if len(planned.evaluations) > 1 else ""
        with Report(f"{name}: evaluation{which}", total, "images") as report:
            result = evaluate(
                embedders,
                benchmark,
                self.store,
                "test",
                merged=evaluation.spec.merged,
                device=self.device,
                workers=self.workers,
                metrics=self.results.metrics_to_compute(evaluation.id, wanted),
                tick=report.tick,
                kept=kept,
            )
            seconds = time.monotonic() - began
            report.note(
                ", ".join(
                    f"{metrics.get(name).label} {100 * result.main.means[name]:.1f}"
                    for name in wanted
                )
            )
        # see udonx/forecast/costs.py
        if self.workers == loading_threads(self.device) and not kept.loaded:
            # a row has one backbone, so their kinds are all the same
            spec, *_ = evaluation.spec.embedders.values()
            Timings(describe(self.device)).add([(embed_kind(spec, benchmark), seconds, total)])
        about = {
            "stages": evaluation.stages,
            "branch": evaluation.spec.branch,
            "row": planned.row.name,
            "seed": planned.seed,
            "data": {domain: self.plan.identities.test_manifest(domain) for domain in embedders},
            "versions": _versions(),
        }
        self.results.write_evaluation(evaluation.id, result, about)
        kept.clear()


def _name(planned: PlannedRow) -> str:
    """A row and its seed, in words."""
    return planned.row.label + (f", seed {planned.seed}" if planned.seed is not None else "")


def _in_words(error: Exception) -> str:
    """What went wrong and where, of an error that is not meant for people."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__} at {frame.filename}:{frame.lineno}: {' '.join(str(error).split())}"
    )


def _versions() -> dict[str, str]:
    """The versions that figures may depend on."""
    return {
        "udonx": udonx.__version__,
        **{name: importlib.metadata.version(name) for name in ("torch", "timm")},
    }

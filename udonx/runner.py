"""From an experiment to its table: plan, preflight, train what is missing, evaluate what is missing, record, show."""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import torch

import udonx
from udonx import console
from udonx.config.experiment import Experiment, load_experiments
from udonx.config.problems import ConfigError, Problem
from udonx.data.images import ImageStore
from udonx.engine.device import choose, describe, loading_threads, repeatable
from udonx.engine.load import load_stage
from udonx.engine.report import Report, clock
from udonx.engine.train import Job, run_stage
from udonx.evaluation.protocol import Embedder, evaluate, image_count
from udonx.files import folder_problem, sha256_file
from udonx.plan import Plan, PlannedEvaluation, PlannedRow, make_plan, stage_title
from udonx.preflight import open_benchmark, preflight, resolve_weights
from udonx.results.lock import StageLock
from udonx.results.record import Recorder, check_observers, command_line, git_state
from udonx.results.store import Results
from udonx.results.table import Table, build_table, write_table
from udonx.timings import Timings, embed_kind

_POLL_SECONDS = 2.0


@attrs.frozen(kw_only=True)
class Options:
    """How to run, beside what to run. Only `weights` can change a number, and it is part of every stage's identity."""

    weights: Path | None = None
    results: Path = Path("results")
    device: str | None = None
    fresh: bool = False
    workers: int | None = None
    quiet: bool = False


def load_plan(experiment: Experiment, options: Options, say: Callable[[str], None], *, fetch: bool = True) -> Plan:
    """Open the benchmark, find the weights (from the hub too, if `fetch`), plan. Raises ConfigError or DataError."""
    benchmark = open_benchmark(experiment, options.quiet)
    return make_plan(experiment, benchmark, resolve_weights(experiment, options.weights, say, fetch=fetch))


def run(
    files: str | Path | Sequence[str | Path],
    *,
    setting: str | None = None,
    data: str | Path | None = None,
    weights: str | Path | None = None,
    overrides: Iterable[str] = (),
    rows: Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    results: str | Path = "results",
    device: str | None = None,
    plugins: Iterable[str] = (),
    allow_plugins: bool = True,
    fresh: bool = False,
    workers: int | None = None,
    quiet: bool = False,
) -> Table | list[Table]:
    """Run experiment files and return their tables: one for one file, a list for several.

    Args:
        files: experiment files, or folders of them.
        setting: replaces the setting that a file names.
        data: the folder of a setting whose data source is `uned`.
        weights: where start weights are looked up first.
        overrides: `key.path=value` texts, as `--set` takes them.
        rows, seeds: which rows and seeds; default: all rows, the file's seeds.
        results: where everything is kept; what is there already is not trained again.
        device: `cpu`, `cuda` or `cuda:N`; default: the GPU where there is one.
        plugins, allow_plugins: modules or files to import first; whether plug-ins may be imported at all.
        fresh: train the stages of this call again.
        workers: threads that load images; default: the CPU's cores, at most 8 (16 with a GPU).
        quiet: no progress.

    Raises:
        ConfigError: everything that is wrong, found before anything is trained.
        TrainingError, DataError: what went wrong later, in one sentence; what was earned is kept.

    Example: `udonx.run("experiments/table3_ablation.toml", setting="smoke").row("udon").r1.mean`
    """
    single = isinstance(files, str | Path)
    options = Options(
        weights=Path(weights) if weights else None, results=Path(results), device=device, fresh=fresh, workers=workers, quiet=quiet
    )
    say = (lambda line: None) if quiet else console.say
    experiments = load_experiments(
        [files] if single else files,
        setting=setting,
        data=data,
        weights=weights,
        check_sources=True,
        overrides=tuple(overrides),
        rows=tuple(rows),
        seeds=None if seeds is None else tuple(seeds),
        plugins=tuple(plugins),
        allow_plugins=allow_plugins,
        say=say,
    )
    tables = run_experiments(experiments, options, say)
    return tables[0] if single and not Path(files).is_dir() else tables


def run_experiments(experiments: Sequence[Experiment], options: Options, say: Callable[[str], None] = console.say) -> list[Table]:
    """Run resolved experiments one after the other; stages are shared between them through the results folder."""
    try:
        device = choose(options.device)
    except ValueError as error:
        raise ConfigError([Problem(where="command", message=str(error))]) from None
    with repeatable(device):
        return _run_experiments(experiments, options, device, say)


def _run_experiments(
    experiments: Sequence[Experiment], options: Options, device: torch.device, say: Callable[[str], None]
) -> list[Table]:
    problems = []
    if options.workers is not None and options.workers < 1:
        problems.append(Problem(where="--workers", message=f"got {options.workers}, allowed is 1 or more"))
    if problem := folder_problem(options.results):
        problems.append(Problem(where="--results", message=problem))
        raise ConfigError(problems)
    for experiment in experiments:
        problems += [Problem(where=str(experiment.path), message=message) for message in check_observers(experiment.observers)]
    try:
        plans = preflight(experiments, options.weights, options.results, say, quiet=options.quiet)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    trained_here: set[str] = set()
    stores = {plan.benchmark.root: ImageStore(plan.benchmark.root) for plan in plans}  # decoded images outlive a table
    return [_Runner(plan, options, device, say, stores[plan.benchmark.root], trained_here).run() for plan in plans]


class _Runner:
    """Runs one plan."""

    def __init__(
        self, plan: Plan, options: Options, device: torch.device, say: Callable[[str], None], store: ImageStore, fresh_done: set[str]
    ) -> None:
        self.plan, self.options, self.device, self.say, self.store = plan, options, device, say, store
        self.results = Results(options.results)
        self.workers = options.workers or loading_threads(device)
        self.recorder = Recorder(self.results.root / "sacred", plan.experiment.observers, say)
        self.fresh_done = fresh_done
        self.git = git_state(Path.cwd())

    def run(self) -> Table:
        began = time.monotonic()
        if self.options.fresh:
            self._forget()
        for line in self.plan.experiment.skipped(len(self.plan.benchmark.domains)):
            self.say(line)
        if not self.plan.rows:
            self.say(
                f"{self.plan.experiment.path}: no row of this file is in the setting '{self.plan.experiment.setting}'; nothing was run"
            )
            return self._view()
        pending = deque(self.plan.rows)
        refused = 0
        while pending:
            planned = pending.popleft()
            if holder := self._held_elsewhere(planned):
                pending.append(planned)
                refused += 1
                if refused == len(pending):
                    self.say(f"{planned.row.label}: waiting for a stage that {holder} is training")
                if refused >= len(pending):
                    time.sleep(_POLL_SECONDS)
                continue
            refused = 0
            self._row(planned)
            self._table()
        table = self._table()
        folder = self.results.table(self.plan.experiment.name, self.plan.experiment.variant)
        places = f"table, CSV and JSON in {folder}; stages, evaluations and runs in {self.results.root}"
        self.say(f"done in {clock(time.monotonic() - began)}; {places}")
        return table

    def _view(self) -> Table:
        """The table of this call's rows, from what is stored."""
        return build_table(stored_seeds(self.plan, self.results), self.results)

    def _table(self) -> Table:
        """The table over all of the file's rows, whichever of them this call asked for; kept only where it is whole."""
        experiment, plan = self.plan.experiment, self.plan
        if experiment.selected:
            everything = attrs.evolve(experiment, selected=())
            try:
                weights = resolve_weights(everything, self.options.weights, self.say, fetch=False)
            except ConfigError:  # a row that was not asked for needs weights that are not here: show what was asked for
                return self._view()
            plan = make_plan(everything, self.plan.benchmark, weights)
        table = build_table(stored_seeds(plan, self.results), self.results)
        write_table(table, self.plan, self.results)
        return table

    def _forget(self) -> None:
        """For --fresh: take every stage of this call, then remove what it holds and every evaluation that looked at it."""
        stages = [identity for identity in self.plan.stages if identity not in self.fresh_done]
        with ExitStack() as held:
            for identity in stages:
                lock = held.enter_context(StageLock(self.results.stage(identity).path))
                if not lock.acquire():
                    message = f"stage {identity} is being trained by {lock.holder()}; stop that first; nothing was removed"
                    raise ConfigError([Problem(where="--fresh", message=message)])
            self.results.forget_evaluations(set(stages))
            for identity in stages:
                self.results.stage(identity).clear()
        self.fresh_done.update(stages)

    def _held_elsewhere(self, planned: PlannedRow) -> str | None:
        for identity in planned.stages:
            folder = self.results.stage(identity)
            if folder.done is None and folder.path.exists():
                with StageLock(folder.path) as lock:
                    if not lock.acquire():
                        return lock.holder()
        return None

    def _row(self, planned: PlannedRow) -> None:
        todo = [identity for identity in planned.stages if self.results.stage(identity).done is None]
        missing = [evaluation for evaluation in planned.evaluations if self.results.read_evaluation(evaluation.id) is None]
        name = planned.row.label + (f", seed {planned.seed}" if planned.seed is not None else "")
        if not todo and not missing:
            self.say(f"{name}: already there")
            return
        reused = len(planned.stages) - len(todo)
        self.say(f"{name}: {len(todo)} stage{'s' * (len(todo) != 1)} to train" + (f", {reused} already there" if reused else ""))
        experiment = self.plan.experiment
        entry = {
            "file": experiment.name,
            "setting": experiment.variant,
            "row": planned.row.name,
            "seed": planned.seed,
            "stages": list(planned.stages),
        }
        before = [run for run in self.results.runs() if all(run.get(key) == value for key, value in entry.items())]
        resumes = before[-1]["sacred_id"] if before and not self.options.fresh else None
        weights = {role: {"source": start.source, "sha256": start.sha256} for role, start in self.plan.weights.items()}
        identities = self.plan.identities
        config = {
            **{key: value for key, value in entry.items() if key != "seed"},
            "training_seed": planned.seed,
            "command": command_line(),
            "git": self.git,
            "resolved": planned.row.data,
            "backbone": attrs.asdict(experiment.backbones[planned.row.backbone]),
            "data": attrs.asdict(experiment.data),
            "manifest": {
                domain: {"training": identities.training_manifest(domain), "test": identities.test_manifest(domain)}
                for domain in self.plan.benchmark.domains
            },
            "resumes": resumes,
            "plugins": list(experiment.plugins),
            "start_weights": weights,
            "versions": {"udonx": udonx.__version__, **{name: importlib.metadata.version(name) for name in ("torch", "timm")}},
            "device": str(self.device),
        }
        self.recorder.run(
            f"{experiment.name}.{planned.row.name}",
            config,
            lambda run: self._work(planned, missing, name, run),
            lambda sacred_id: self.results.append_run({**entry, "sacred_id": sacred_id, "resumes": resumes}),
        )

    def _work(self, planned: PlannedRow, missing: list[PlannedEvaluation], name: str, record: Any) -> dict[str, Any]:
        for identity in planned.stages:
            self._stage(planned, identity, name, record)
        for evaluation in missing:
            self._evaluate(planned, evaluation, name)
        row: dict[str, Any] = {}
        for evaluation in planned.evaluations:
            stored = self.results.read_evaluation(evaluation.id)
            row[evaluation.spec.branch] = stored
            metrics = stored["merged"] or stored["own"]
            _record(record, f"test.{evaluation.spec.branch}.r1", metrics["r1"])
            _record(record, f"test.{evaluation.spec.branch}.mmp5", metrics["mmp5"])
            record.add_artifact(self.results.evaluation(evaluation.id) / "metrics.json", name=f"{evaluation.spec.branch}_metrics.json")
        weights = {}
        for identity in planned.stages:
            folder = self.results.stage(identity).path
            weights[identity] = {"path": str(folder / "best.safetensors"), "sha256": sha256_file(folder / "best.safetensors")}
            record.add_artifact(folder / "stage.toml", name=f"{identity}.stage.toml")
            for file in sorted(path for path in (folder / "plugins").rglob("*") if path.is_file()):
                name = ".".join(file.relative_to(folder).parts)
                record.add_artifact(file, name=f"{identity}.{name}")
        record.info["weights"] = weights
        return row

    def _stage(self, planned: PlannedRow, identity: str, name: str, record: Any) -> None:
        folder = self.results.stage(identity)
        spec = self.plan.stages[identity]
        title = f"{name}: {stage_title(spec)}"
        while folder.done is None:
            with StageLock(folder.path) as lock:
                if not lock.acquire():
                    self.say(f"{title}: waiting for {lock.holder()}")
                    time.sleep(_POLL_SECONDS)
                    continue
                job = Job(
                    spec=spec,
                    id=identity,
                    title=title,
                    folder=folder,
                    benchmark=self.plan.benchmark,
                    store=self.store,
                    device=self.device,
                    workers=self.workers,
                    weights=self.plan.weights_of(spec).folder,
                    teachers=tuple(self.results.stage(self.plan.identity(teacher)) for teacher in spec.teachers),
                    plugins=self.plan.experiment.plugins,
                    manifest={domain: self.plan.identities.training_manifest(domain) for domain in spec.domains},
                    quiet=self.options.quiet,
                    summary=lambda key, value, step: _record(record, f"{stage_title(spec).replace(' ', '_')}.{key}", value, step),
                )
                run_stage(job)

    def _evaluate(self, planned: PlannedRow, evaluation: PlannedEvaluation, name: str) -> None:
        models = {identity: load_stage(self.results.stage(identity), self.device) for identity in set(evaluation.stages.values())}
        embedders = {domain: Embedder(models[identity], evaluation.spec.branch) for domain, identity in evaluation.stages.items()}
        benchmark = self.plan.benchmark
        total = image_count(benchmark, embedders, "test")
        began = time.monotonic()
        with Report(f"{name}: evaluation", total, "images", quiet=self.options.quiet) as report:
            result = evaluate(
                embedders,
                benchmark,
                self.store,
                "test",
                merged=evaluation.spec.merged,
                device=self.device,
                workers=self.workers,
                tick=report.tick,
            )
            seconds = time.monotonic() - began
            report.note(f"R@1 {100 * result.main.r1:.1f}, mMP@5 {100 * result.main.mmp5:.1f}")
        if self.workers == loading_threads(self.device):  # see udonx/timings.py
            (spec, *_) = evaluation.spec.embedders.values()  # a row has one backbone, so their kinds are all the same
            Timings(describe(self.device)).add([(embed_kind(spec, benchmark), seconds, total)])
        about = {
            "stages": evaluation.stages,
            "branch": evaluation.spec.branch,
            "row": planned.row.name,
            "seed": planned.seed,
            "data": {domain: self.plan.identities.test_manifest(domain) for domain in embedders},
        }
        self.results.write_evaluation(evaluation.id, result, about)


def _record(run: Any, key: str, value: float, step: int | None = None) -> None:
    """Give a figure to the run record, whose JSON has no place for one that is not finite."""
    if math.isfinite(value):
        run.log_scalar(key, value, step)


def stored_seeds(plan: Plan, results: Results) -> Plan:
    """The plan over all seeds that any run of this table has asked for, beside those of this call."""
    experiment = plan.experiment
    runs = [run for run in results.runs() if (run["file"], run["setting"]) == (experiment.name, experiment.variant)]
    seeds = sorted({run["seed"] for run in runs if run["seed"] is not None} | set(experiment.seeds))
    if set(seeds) == set(experiment.seeds):
        return plan
    return make_plan(attrs.evolve(experiment, seeds=tuple(seeds)), plan.benchmark, plan.weights)


def stored_table(experiment: Experiment, options: Options, say: Callable[[str], None], *, every_seed: bool = True) -> Table:
    """The table from what is stored (of `--row`, only those; unless `every_seed`, of the experiment's seeds only), running and fetching
    nothing."""
    plan = load_plan(experiment, options, say, fetch=False)
    results = Results(options.results)
    return build_table(stored_seeds(plan, results) if every_seed else plan, results)

"""Everything that can be known to be wrong before step 0: data, weights, components, disk; all of it in one report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from registry.contracts import StageSpec
from udonx.config.experiment import Experiment
from udonx.config.files import shown
from udonx.config.problems import ConfigError, Problem
from udonx.data.benchmark import Benchmark, open_demo
from udonx.data.errors import DataError
from udonx.data.paths import resolve_image
from udonx.engine.report import Report
from udonx.plan import Plan
from udonx.start_weights import StartWeights, WeightsError, resolve

_SHOWN = 5  # of many missing images, so many are named


def used_roles(experiment: Experiment) -> list[str]:
    """The backbone roles that the wanted rows use and the setting has."""
    return list(dict.fromkeys(row.backbone for row in experiment.wanted_rows() if not row.skipped))


def open_benchmark(experiment: Experiment, quiet: bool = False) -> Benchmark:
    """The benchmark that an experiment's setting names; a generated one is written first if it is not there. Raises DataError."""
    data = experiment.data
    if data.source == "uned":
        return Benchmark.open(Path(data.root), data.domains)
    report: list[Report] = []

    def progress(done: int, total: int) -> None:
        if not report:
            report.append(Report("generating the benchmark (once)", total, "images", quiet=quiet))
        report[0].tick(done - report[0].count)

    benchmark = open_demo(data.source, seed=data.seed, size=data.size, domains=data.domains, progress=progress)
    if report:
        report[0].__exit__(None)
    return benchmark


def resolve_weights(experiment: Experiment, weights: Path | str | None, say: Callable[[str], None]) -> dict[str, StartWeights]:
    """The start weights of every role that is used. Raises ConfigError with all that are missing."""
    found, problems = {}, []
    for role in used_roles(experiment):
        try:
            found[role] = resolve(experiment.backbones[role], weights, say)
        except WeightsError as error:
            problems.append(Problem(where=f"setting '{experiment.setting}'", key=f"backbones.{role}", message=str(error)))
    if problems:
        raise ConfigError(problems)
    return found


def preflight(plan: Plan, results: Path, say: Callable[[str], None]) -> None:
    """Look at everything that the plan will use. Raises ConfigError with all problems; says what is unusual but allowed."""
    where = f"setting '{plan.experiment.setting}'"
    trained = {domain for spec in plan.stages.values() if spec.training or spec.student_head for domain in spec.domains}
    problems = [Problem(where=where, key="data", message=message) for message in _data_problems(plan.benchmark, trained, say)]
    if not problems:
        problems = list(_model_problems(plan, where, results))
    if problems:
        raise ConfigError(problems)


def _data_problems(benchmark: Benchmark, trained: set[str], say: Callable[[str], None]) -> Iterator[str]:
    queries = 0
    for domain in benchmark.domains:
        names = []
        if domain in trained:
            if not benchmark.has(domain, "train"):
                yield f"domain '{domain}' has no train split: {shown(benchmark.root)}/info_files/{domain}/train.json is missing; add it, or leave the domain out with data.domains"
                continue
            names.append("train")
        for stage in ("val", "test"):
            names += benchmark.evaluated_splits(domain, stage)
        missing = []
        try:
            for name in dict.fromkeys(names):
                for path in benchmark.split(domain, name).paths:
                    try:
                        resolve_image(benchmark.root, path)
                    except DataError:
                        missing.append(path)
            if domain in trained:
                yield from _train_problems(benchmark, domain)
            for stage in ("val", "test"):
                yield from _query_problems(benchmark, domain, stage, say)
        except DataError as error:
            yield str(error)
            continue
        if missing:
            listed = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
            yield f"domain '{domain}': {len(missing)} images are not below {shown(benchmark.root)}/images: {listed}"
        queries += benchmark.query_index(domain, "test") is not None
    if not queries:
        yield f"no domain of {shown(benchmark.root)} has a test split, so there is nothing to evaluate"


def _train_problems(benchmark: Benchmark, domain: str) -> Iterator[str]:
    split = benchmark.split(domain, "train")
    if split.several:
        yield f"domain '{domain}': {len(split.several)} training images have several labels; training takes one label per image"
    classes = len(split.classes())
    if classes < 2:
        yield f"domain '{domain}': its train split has {classes} class; classification needs at least 2"


def _query_problems(benchmark: Benchmark, domain: str, stage: str, say: Callable[[str], None]) -> Iterator[str]:
    splits = benchmark.query_index(domain, stage)
    if splits is None:
        return
    query, index = (benchmark.split(domain, name) for name in splits)
    if index.several:
        yield f"domain '{domain}': {len(index.several)} images of its index split '{splits[1]}' have several labels; only queries may"
        return
    labels, counts = np.unique(index.class_ids, return_counts=True)
    needed = 2 if splits[0] == splits[1] else 1
    relevant = set(labels[counts >= needed].tolist())
    rows = enumerate(query.class_ids.tolist())
    without = sum(not relevant.intersection(query.several.get(row, (label,))) for row, label in rows)
    if without == len(query):
        yield f"domain '{domain}': not one of its {len(query)} {stage} queries has another image of its class in the index '{splits[1]}', so every score would be 0"
    elif without:
        say(f"{domain}: {without} of {len(query)} {stage} queries have no positive in the index; they count as misses")


def _model_problems(plan: Plan, where: str, results: Path) -> Iterator[Problem]:
    """Build every different model once, with its weights, and every sampler and loss: what fails here would fail after hours."""
    from udonx.engine.build import build_losses, build_model, build_sampler

    facts = {domain.name: domain for domain in plan.benchmark.facts}
    classes = {name: max(2, domain.train_classes) for name, domain in facts.items()}
    largest, heads, seen = 0, {}, set()
    for identity, spec in plan.stages.items():
        rows = tuple(plan.users[identity])
        try:
            if spec.training is not None:
                build_losses(spec)
                build_sampler(spec, {name: domain.train_images for name, domain in facts.items()})
            if (key := _model_key(spec)) not in seen:
                seen.add(key)
                few = {name: 2 for name in classes}
                model = build_model(spec, few, plan.weights_of(spec).folder)
                largest = max(largest, sum(parameter.numel() for parameter in model.parameters()))
            dims = sum(head.dim for head in (spec.student_head, spec.teacher_head) if head)
            heads[identity] = dims * sum(classes[domain] for domain in spec.domains)
        except (ValueError, TypeError, RuntimeError) as error:
            yield Problem(where=where, rows=rows, message=f"the stage '{rows[0]}' cannot be built: {error}")
    # a checkpoint holds weights and two moments, beside the best weights; stages one after the other, each keeps its best
    need = 4 * sum(largest + count for count in heads.values()) + 12 * (largest + max(heads.values(), default=0))
    anchor = next(folder for folder in (results.resolve(), *results.resolve().parents) if folder.exists())
    free = shutil.disk_usage(anchor).free
    if free < need:
        yield Problem(where="--results", message=f"{shown(results)} has {free / 1e9:.1f} GB free, but up to {need / 1e9:.1f} GB are needed; free some, or give another folder")


def _model_key(spec: StageSpec) -> str:
    return repr((spec.backbone, spec.transform.crop, spec.student_head, spec.teacher_head))

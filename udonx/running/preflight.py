"""Everything that can be known to be wrong before step 0: data, weights, components, disk; all of
it in one report.
"""

from __future__ import annotations

import logging
import shutil
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np

from registry.contracts import Batch, Branch, DomainFacts, StageSpec
from udonx.common.words import display_path
from udonx.config.experiment import Experiment
from udonx.config.problems import ConfigError, Problem
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore
from udonx.inputs.open import WeightsFinder, open_benchmark, open_images, used_roles
from udonx.inputs.weights import StartWeights
from udonx.planning.identity import digest, to_plain
from udonx.planning.plan import Plan, make_plan, row_evaluations, start_of
from udonx.planning.stages import with_teachers
from udonx.store.results import Results

if TYPE_CHECKING:
    from udonx.engine.model import Model

logger = logging.getLogger(__name__)

_SHOWN = 5  # of many missing images, so many are named
_ANY_BATCH = 4096  # a batch up to this size may repeat the images of a small benchmark


def preflight(
    experiments: Sequence[Experiment],
    results: Path,
    stores: dict[str, ImageStore] | None = None,
) -> list[Plan]:
    """Look at everything that experiments will use, each thing once, and plan them. Raises
    ConfigError with all problems, whatever their kind; logs what is unusual but allowed. `stores`
    takes the images of each data (by its repr), so that what was read here is not read again.
    """
    finder = WeightsFinder()
    found = [finder.of(experiment) for experiment in experiments]
    problems: list[Problem] = []
    benchmarks: dict[str, tuple[Benchmark, set[str]] | None] = {}
    models = _Models(results)
    stores = {} if stores is None else stores
    plans = []
    for experiment, start in zip(experiments, found, strict=True):
        key = repr(experiment.data)
        if key not in benchmarks:
            alike = [other for other in experiments if repr(other.data) == key]
            benchmarks[key] = _look_at_data(experiment, any(map(_trains, alike)), problems)
        if benchmarks[key] is None:
            continue
        benchmark, broken = benchmarks[key]
        store = stores.setdefault(key, open_images(experiment, benchmark))
        facts = _facts(benchmark, broken)
        problems += _batch_problems(experiment, facts)
        prefix = f"{experiment.name}." if len(experiments) > 1 else ""
        if broken or len(start) < len(used_roles(experiment)):
            for row, spec in _rough_stages(experiment, start, facts):
                models.add(
                    experiment,
                    benchmark,
                    store,
                    broken,
                    facts,
                    start,
                    digest(to_plain(spec)),
                    spec,
                    prefix + row,
                )
            continue
        plan = make_plan(experiment, benchmark, start)
        plans.append(plan)
        for identity, spec in plan.stages.items():
            if not Results(results).stage(identity).finished:
                for row in plan.users[identity]:
                    models.add(
                        experiment,
                        benchmark,
                        store,
                        broken,
                        facts,
                        start,
                        identity,
                        spec,
                        prefix + row,
                    )
    problems += [*finder.problems, *models.problems()]
    if problems:
        raise ConfigError(problems)
    return plans


def _batch_problems(experiment: Experiment, facts: tuple[DomainFacts, ...]) -> Iterator[Problem]:
    """Rows whose batch no benchmark of this size can need; it would take memory without end."""
    images = sum(domain.train_images for domain in facts)
    most = max(images, _ANY_BATCH)
    rows: dict[int, list[str]] = {}
    for row in experiment.wanted_rows():
        if not row.skipped and (recipe := row.spec.recipe) and recipe.budget.batch > most:
            rows.setdefault(recipe.budget.batch, []).append(row.name)
    for batch, names in rows.items():
        message = (
            f"got {batch}, allowed is at most {most}, for there are {images} training images in all"
        )
        yield Problem(
            where=experiment.setting_place, rows=tuple(names), key="budget.batch", message=message
        )


def _look_at_data(
    experiment: Experiment,
    trains: bool,
    problems: list[Problem],
) -> tuple[Benchmark, set[str]] | None:
    """The benchmark and the domains that something is wrong with, None where it cannot be opened;
    what is wrong joins `problems`.
    """
    where = experiment.setting_place
    try:
        benchmark = open_benchmark(experiment)
    except DataError as error:
        problems.append(Problem(where=where, key="data", message=str(error)))
        return None
    broken = set()
    for domain, message in _data_problems(benchmark, trains):
        broken.add(domain)
        problems.append(Problem(where=where, key="data", message=message))
    return benchmark, broken


def _trains(experiment: Experiment) -> bool:
    """Whether any row reads training images: to train, or to fit a head."""
    specs = (row.spec for row in experiment.wanted_rows() if not row.skipped)
    return any(spec.recipe or spec.student_head for spec in specs)


def _facts(benchmark: Benchmark, broken: set[str]) -> tuple[DomainFacts, ...]:
    """The facts of the domains; for those that cannot be read a stand-in, so that models can be
    looked at all the same.
    """
    if not broken:
        return benchmark.facts
    whole = attrs.evolve(
        benchmark, domains=tuple(name for name in benchmark.domains if name not in broken)
    )
    read = {domain.name: domain for domain in whole.facts}
    return tuple(
        read.get(name) or DomainFacts(name=name, train_images=1, train_classes=2)
        for name in benchmark.domains
    )


def _rough_stages(
    experiment: Experiment, weights: Mapping[str, StartWeights], facts: tuple[DomainFacts, ...]
) -> Iterator[tuple[str, StageSpec]]:
    """(row, stage) of what can be planned although something is wrong, so that models are looked at
    all the same.
    """
    for row in experiment.wanted_rows():
        if row.skipped or row.backbone not in weights:
            continue
        for evaluation in row_evaluations(experiment, row, experiment.seeds[0], weights, facts):
            for stage in evaluation.embedders.values():
                for reached in with_teachers(stage):
                    yield row.name, reached


def _data_problems(benchmark: Benchmark, trains: bool) -> Iterator[tuple[str, str]]:
    """(domain, sentence) of everything that is wrong with the data."""
    tested = 0
    for domain in benchmark.domains:
        if trains and not benchmark.has(domain, "train"):
            file = f"{display_path(benchmark.root)}/info_files/{domain}/train.json"
            yield (
                domain,
                (
                    f"domain '{domain}' has no train split: {file} is missing; add it, or leave the"
                    " domain out with data.domains"
                ),
            )
        names = ["train"] if trains and benchmark.has(domain, "train") else []
        names += [
            name for stage in ("val", "test") for name in benchmark.evaluated_splits(domain, stage)
        ]
        tested += benchmark.query_index(domain, "test") is not None
        readable = True
        for name in dict.fromkeys(names):
            try:
                benchmark.split(domain, name)
            except DataError as error:
                readable = False
                yield domain, str(error)
        if not readable:
            continue
        for message in (
            *_missing_images(benchmark, domain, names),
            *_split_problems(benchmark, domain, names),
        ):
            yield domain, message
    if not tested:
        yield (
            "",
            (
                f"no domain of {display_path(benchmark.root)} has a test split, so there is nothing"
                " to evaluate"
            ),
        )


def _missing_images(benchmark: Benchmark, domain: str, names: list[str]) -> Iterator[str]:
    missing = list(
        dict.fromkeys(
            path for name in dict.fromkeys(names) for path in benchmark.missing(domain, name)
        )
    )
    if missing:
        named = ", ".join(missing[:_SHOWN]) + (
            f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        )
        are = "images are" if len(missing) > 1 else "image is"
        yield (
            f"domain '{domain}': {len(missing)} {are} not below"
            f" {display_path(benchmark.root)}/images: {named}"
        )


def _split_problems(benchmark: Benchmark, domain: str, names: list[str]) -> Iterator[str]:
    if "train" in names:
        yield from _train_problems(benchmark, domain)
    if "train" in names:
        trained = set(benchmark.split(domain, "train").classes())
        for name in names:
            if name != "train" and (
                shared := trained.intersection(benchmark.split(domain, name).classes())
            ):
                what = "class of train is" if len(shared) == 1 else "classes of train are"
                logger.warning(
                    f"{domain}: {len(shared)} {what} also in {name}, so its scores are not those of"
                    " unseen classes"
                )
    for stage in ("val", "test"):
        yield from _query_problems(benchmark, domain, stage)


def _train_problems(benchmark: Benchmark, domain: str) -> Iterator[str]:
    split = benchmark.split(domain, "train")
    if split.several:
        yield (
            f"domain '{domain}': {len(split.several)} training images have several labels; training"
            " takes one label per image"
        )
    classes = len(split.classes())
    if classes < 2:
        yield (
            f"domain '{domain}': its train split has {classes} class; classification needs at"
            " least 2"
        )


def _query_problems(benchmark: Benchmark, domain: str, stage: str) -> Iterator[str]:
    splits = benchmark.query_index(domain, stage)
    if splits is None:
        return
    query, index = (benchmark.split(domain, name) for name in splits)
    if index.several:
        yield (
            f"domain '{domain}': {len(index.several)} images of its index split '{splits[1]}' have"
            " several labels; only queries may"
        )
        return
    labels, counts = np.unique(index.class_ids, return_counts=True)
    if len(labels) == 1:
        logger.warning(
            f"{domain}: the {stage} index '{splits[1]}' shows one class only, so that a search in"
            " the domain cannot miss"
        )
    needed = 2 if splits[0] == splits[1] else 1
    relevant = set(labels[counts >= needed].tolist())
    rows = enumerate(query.class_ids.tolist())
    without = sum(
        not relevant.intersection(query.several.get(row, (label,))) for row, label in rows
    )
    if without == len(query):
        none = (
            f"not one of its {len(query)} {stage} queries has another image of its class in the"
            f" index '{splits[1]}'"
        )
        yield f"domain '{domain}': {none}, so every score would be 0"
    elif without:
        logger.warning(
            f"{domain}: {without} of {len(query)} {stage} queries have no positive in the index;"
            " they count as misses"
        )


@attrs.define
class _Wanted:
    """A stage that is to be trained, and who wants it. `domain` is one whose images can be looked
    at, None where it has none.
    """

    spec: StageSpec
    facts: tuple[DomainFacts, ...]
    benchmark: Benchmark
    store: ImageStore
    domain: str | None
    folder: Path | None
    where: str
    rows: list[str]

    def problem(self, message: str) -> Problem:
        """What is wrong with it."""
        return Problem(where=self.where, rows=tuple(dict.fromkeys(self.rows)), message=message)


class _Models:
    """The models of all stages that are to be trained: each different one is built once, with its
    weights, and its stages' losses and samplers are called on a few real images: what fails here
    would fail after hours.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.wanted: dict[str, _Wanted] = {}
        # what a model, untrained, teaches on the first images of a domain
        self._taught: dict[tuple[str, str], Branch] = {}
        self._batches: dict[str, Batch] = {}
        self._samplers: dict[str, str | None] = {}  # what is wrong with each, None for nothing

    def add(
        self,
        experiment: Experiment,
        benchmark: Benchmark,
        store: ImageStore,
        broken: set[str],
        facts: tuple[DomainFacts, ...],
        weights: Mapping[str, StartWeights],
        identity: str,
        spec: StageSpec,
        row: str,
    ) -> None:
        """Note that a row wants a stage."""
        domain = next((name for name in spec.domains if name not in broken), None)
        start = start_of(experiment, weights, spec.backbone)
        stage = _Wanted(
            spec, facts, benchmark, store, domain, start.folder, experiment.setting_place, []
        )
        self.wanted.setdefault(identity, stage).rows.append(row)

    def problems(self) -> Iterator[Problem]:
        """What cannot be built or fails, and a disk that is too small."""
        groups: dict[str, list[_Wanted]] = {}
        for stage in self.wanted.values():
            groups.setdefault(_model_key(stage.spec), []).append(stage)
        teachers = {
            _model_key(teacher.stage)
            for stage in self.wanted.values()
            for teacher in stage.spec.teachers
        }
        sizes: dict[str, int] = {}  # parameters of each different model, but for the classifiers
        # so that few models of teachers are built for their students alone
        for key in sorted(groups, key=lambda key: key not in teachers):
            sizes[key] = 0
            stages = sorted(groups[key], key=lambda stage: stage.domain is None)
            try:
                model = self._build(stages[0].spec, stages[0])
            except Exception as error:
                rows = [row for stage in stages for row in stage.rows]
                yield attrs.evolve(stages[0], rows=rows).problem(_cannot_be_built(error))
                continue
            sizes[key] = sum(
                value.numel()
                for name, value in model.named_parameters()
                if "_classifiers." not in name
            )
            yield from self._rehearse(model, stages)
        yield from self._disk(sizes)

    def _build(self, spec: StageSpec, stage: _Wanted) -> Model:
        """A model with the classes of the domain that is looked at; two stand for those of every
        other.
        """
        from udonx.engine.build import build_model

        classes = {
            domain.name: max(2, domain.train_classes) if domain.name == stage.domain else 2
            for domain in stage.facts
        }
        return build_model(spec, classes, stage.folder if spec is stage.spec else None)

    def _rehearse(self, model: Model, stages: list[_Wanted]) -> Iterator[Problem]:
        """Call what is different in stages that have one model."""
        from udonx.engine.build import build_losses
        from udonx.engine.errors import TrainingError
        from udonx.engine.rehearsal import Rehearsal

        rehearsal, first = None, stages[0]
        for stage in stages:
            if stage.spec.training is None:
                continue
            try:
                build_losses(stage.spec)
                if rehearsal is None and first.domain is not None:
                    rehearsal = Rehearsal(model, self._batch(first))
                    self._taught[_model_key(first.spec), first.domain] = rehearsal.teaching()
                if rehearsal is not None:
                    for message in rehearsal.problems(stage.spec, self._frozen(stage.spec, first)):
                        yield stage.problem(message)
                if message := self._sampler(stage, rehearsal.values if rehearsal else {}):
                    yield stage.problem(message)
            except (TrainingError, DataError) as error:
                yield stage.problem(str(error))
            except Exception as error:
                yield stage.problem(_cannot_be_built(error))

    def _batch(self, stage: _Wanted) -> Batch:
        from udonx.engine.rehearsal import first_batch

        key = repr(
            (stage.benchmark.root, stage.domain, stage.spec.transform, stage.spec.training.batch)
        )
        if key not in self._batches:
            self._batches[key] = first_batch(stage.benchmark, stage.store, stage.spec, stage.domain)
        return self._batches[key]

    def _frozen(self, spec: StageSpec, first: _Wanted) -> Branch | None:
        """What the earlier teacher of a stage will teach on the first images of a domain, before it
        is trained.
        """
        from udonx.engine.rehearsal import Rehearsal

        teacher = next(
            (teacher.stage for teacher in spec.teachers if first.domain in teacher.taught_domains),
            None,
        )
        if teacher is None:
            return None
        key = (_model_key(teacher), first.domain)
        if key not in self._taught:
            self._taught[key] = Rehearsal(
                self._build(teacher, first), self._batch(first)
            ).teaching()
        return self._taught[key]

    def _sampler(self, stage: _Wanted, values: Mapping[str, float]) -> str | None:
        """What is wrong with a stage's sampler, in one sentence."""
        from udonx.engine.errors import TrainingError
        from udonx.engine.rehearsal import rehearse_sampler

        training = stage.spec.training
        signal = values.get(training.sampler.options.get("signal"), 1.0)
        key = repr((training.sampler, training.steps, stage.spec.domains, signal < 0))
        if key not in self._samplers:
            self._samplers[key] = None
            try:
                rehearse_sampler(
                    stage.spec, {domain.name: domain.train_images for domain in stage.facts}, signal
                )
            except TrainingError as error:
                self._samplers[key] = str(error)
            except Exception as error:
                self._samplers[key] = _cannot_be_built(error)
        return self._samplers[key]

    def _disk(self, sizes: Mapping[str, int]) -> Iterator[Problem]:
        """Whether there is room for everything. Each stage keeps its best weights. The one that
        runs also has a checkpoint of weights and two moments, and while a new checkpoint or new
        best weights are written the old ones are still there.
        """
        need = largest = 0
        for stage in self.wanted.values():
            spec = stage.spec
            classes = {domain.name: max(2, domain.train_classes) for domain in stage.facts}
            dims = (
                sum(head.dim for head in (spec.student_head, spec.teacher_head) if head)
                if spec.training
                else 0
            )
            size = sizes[_model_key(spec)] + dims * sum(classes[domain] for domain in spec.domains)
            need, largest = need + 4 * size, max(largest, size)
        need += (2 * 12 + 4) * largest
        anchor = next(
            folder
            for folder in (self.results.resolve(), *self.results.resolve().parents)
            if folder.exists()
        )
        free = shutil.disk_usage(anchor).free
        if free < need:
            room = f"{_gigabytes(free)} free, but up to {_gigabytes(need)} are needed"
            yield Problem(
                where="--results",
                message=(
                    f"{display_path(self.results)} has {room}; free some, or give another folder"
                ),
            )


def _cannot_be_built(error: Exception) -> str:
    """The sentence for what a component raises while it is built. What is no component's fault,
    such as memory, goes on up.
    """
    if isinstance(error, MemoryError | OSError):
        raise error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = (
        ""
        if isinstance(error, ValueError | TypeError)
        else f"{type(error).__name__} at {frame.filename}:{frame.lineno}: "
    )
    return f"its model, losses or sampler cannot be built: {where}{error}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"


def _model_key(spec: StageSpec) -> str:
    """Stages of one key have models that differ in their seed and in the domains of their
    classifiers alone.
    """
    return repr(
        (
            spec.backbone,
            spec.transform.crop,
            spec.student_head,
            spec.teacher_head,
            spec.classifier,
            spec.training is None,
        )
    )

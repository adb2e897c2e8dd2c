"""From rows and seeds to stages: what has to be trained, in which order, and what is shared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property, partial

import attrs

from registry.contracts import (
    BackboneSpec,
    DomainFacts,
    EvaluationSpec,
    RowTeacher,
    StageSpec,
    Transform,
)
from udonx.config.backbones import BackboneConfig
from udonx.config.experiment import Experiment
from udonx.config.problems import ConfigError, Problem
from udonx.config.rows import RowConfig
from udonx.data.benchmark import Benchmark
from udonx.inputs.weights import RANDOM, StartWeights
from udonx.planning.identity import digest, stage_id
from udonx.planning.stages import stage_title, teacher_problems, with_earlier

EVALUATION_VERSION = 1
"""Raised when the evaluation's numbers change."""

_MOST_STEPS = 1_000_000_000  # a sampler lays out the whole budget


@attrs.frozen(kw_only=True)
class PlannedEvaluation:
    """An evaluation with its identity.

    Attributes:
        id: its identity.
        spec: what is embedded with what.
        stages: the ids of its embedders, by domain.
    """

    id: str
    spec: EvaluationSpec
    stages: dict[str, str]


@attrs.frozen(kw_only=True)
class PlannedRow:
    """A row for one seed.

    Attributes:
        row: the row, its label filled in for these data.
        seed: None where nothing is random.
        evaluations: what is evaluated.
        stages: the ids of all stages that it needs, teachers first.
    """

    row: RowConfig
    seed: int | None
    evaluations: tuple[PlannedEvaluation, ...]
    stages: tuple[str, ...]


@attrs.define(kw_only=True, slots=False)
class Plan:
    """Everything that an experiment needs, seeds outermost.

    Attributes:
        experiment: what is planned.
        benchmark: its data.
        start_weights: the start weights, by role.
        rows: its rows, one for each seed.
        stages: each equal stage once, by id, teachers before students.
        identities: what computes ids.
    """

    experiment: Experiment
    benchmark: Benchmark
    start_weights: dict[str, StartWeights]
    rows: list[PlannedRow]
    stages: dict[str, StageSpec]
    identities: Identities

    def identity(self, spec: StageSpec) -> str:
        """The id of a stage of this plan."""
        return self.identities.stage(spec)

    @cached_property
    def users(self) -> dict[str, list[str]]:
        """The rows that need each stage."""
        found: dict[str, list[str]] = {stage: [] for stage in self.stages}
        for row in self.rows:
            for stage in row.stages:
                if row.row.name not in found[stage]:
                    found[stage].append(row.row.name)
        return found

    def weights_of(self, spec: StageSpec) -> StartWeights:
        """The start weights of a stage."""
        return start_of(self.experiment, self.start_weights, spec.backbone)


class Identities:
    """Computes and remembers the identities of stages over one benchmark."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self._manifests: dict[tuple[str, tuple[str, ...]], str] = {}
        self._stages: dict[int, tuple[StageSpec, str]] = {}

    def manifest(self, domain: str, splits: tuple[str, ...]) -> str:
        """Hash of some splits of a domain."""
        if (domain, splits) not in self._manifests:
            self._manifests[domain, splits] = self.benchmark.manifest(domain, splits)
        return self._manifests[domain, splits]

    def stage(self, spec: StageSpec) -> str:
        """The identity of a stage: it reads train and validation files of its own domains."""
        # the spec is kept beside its id, so that no other object can take its place in memory
        if id(spec) not in self._stages:
            self._stages[id(spec)] = (spec, stage_id(spec, self.training_manifest))
        return self._stages[id(spec)][1]

    def training_manifest(self, domain: str) -> str:
        """Hash of what a stage reads of a domain: training and validation files."""
        return self.manifest(domain, ("train", *self.benchmark.evaluated_splits(domain, "val")))

    def test_manifest(self, domain: str) -> str:
        """Hash of what an evaluation reads of a domain."""
        return self.manifest(domain, self.benchmark.evaluated_splits(domain, "test"))

    def evaluation(self, spec: EvaluationSpec, stages: Mapping[str, str]) -> str:
        """The identity of an evaluation: its embedders, the test files, and how they are seen."""
        embedders = {domain: [stage, spec.branch] for domain, stage in stages.items()}
        files = {domain: self.test_manifest(domain) for domain in stages}
        tta = {"tta": spec.tta} if spec.tta else {}
        return digest({"embedders": embedders, "data": files, "version": EVALUATION_VERSION, **tta})


def backbone_spec(config: BackboneConfig, start: StartWeights) -> BackboneSpec:
    """A backbone with its start weights: its options over how their architecture was configured."""
    options = dict(config.options)
    if merged := {**start.model_args, **options.get("kwargs", {})}:
        options["kwargs"] = merged
    return BackboneSpec(
        use=config.use,
        options=options,
        version=config.version,
        source=config.source,
        files=config.files,
        weights=start.sha256,
        mean=start.mean,
        std=start.std,
    )


def start_of(
    experiment: Experiment, start_weights: Mapping[str, StartWeights], backbone: BackboneSpec
) -> StartWeights:
    """The start weights of a backbone.

    They are not any of the same bytes, since their folders may configure the model in different
    ways.
    """
    for role, start in start_weights.items():
        found = backbone_spec(experiment.backbones[role], start)
        # random weights may have the mean and std of others, from which their stage starts
        if attrs.evolve(found, mean=backbone.mean, std=backbone.std) == backbone:
            return start
    raise LookupError(f"no role of {experiment.path} has the backbone {backbone}")


def make_plan(
    experiment: Experiment, benchmark: Benchmark, start_weights: dict[str, StartWeights]
) -> Plan:
    """Plan the wanted rows of an experiment for its seeds; pure but for reading split files."""
    identities = Identities(benchmark)
    planned: list[PlannedRow] = []
    stages: dict[str, StageSpec] = {}
    rows = experiment.wanted_rows()
    for position, seed in enumerate(experiment.seeds):
        for row in rows:
            if row.skipped:
                continue
            evaluations: list[PlannedEvaluation] = []
            needed: dict[str, StageSpec] = {}
            for spec in row_evaluations(experiment, row, seed, start_weights, benchmark.facts):
                ids = {domain: identities.stage(stage) for domain, stage in spec.embedders.items()}
                evaluations.append(
                    PlannedEvaluation(id=identities.evaluation(spec, ids), spec=spec, stages=ids)
                )
                for stage in spec.embedders.values():
                    for reached in with_earlier(stage):
                        needed.setdefault(identities.stage(reached), reached)
            random = any(stage.seed is not None for stage in needed.values())
            if not random and position > 0:
                continue
            for identity, stage in needed.items():
                stages.setdefault(identity, stage)
            labelled = attrs.evolve(row, label=row.label_for(len(benchmark.domains)))
            planned.append(
                PlannedRow(
                    row=labelled,
                    seed=seed if random else None,
                    evaluations=tuple(evaluations),
                    stages=tuple(needed),
                )
            )
    return Plan(
        experiment=experiment,
        benchmark=benchmark,
        start_weights=start_weights,
        rows=planned,
        stages=stages,
        identities=identities,
    )


def row_evaluations(
    experiment: Experiment,
    row: RowConfig,
    seed: int,
    start_weights: Mapping[str, StartWeights],
    facts: tuple[DomainFacts, ...],
) -> tuple[EvaluationSpec, ...]:
    """What a row wants to see evaluated, as its scheme plans it for one seed.

    The scheme sees the domains that the row trains on; the others are evaluated with the same
    stage.

    Raises:
        ConfigError: the scheme fails, the domains of a stage do not have one teacher each, nothing
            embeds a domain that the row leaves out, a stage has absurdly many steps, or a row that
            it starts from has no student of all domains.
    """
    sources = tuple(
        _source_stage(experiment, row, name, seed, start_weights, facts) for name in row.sources
    )
    config = experiment.backbones[row.backbone]
    backbone = backbone_spec(config, start_weights[row.backbone])
    if sources and backbone.weights == RANDOM:
        # what is taken over knows images of this mean and std, and random weights know none
        first = sources[0].backbone
        backbone = attrs.evolve(backbone, mean=first.mean, std=first.std)
    taught_by = tuple(
        _teacher_stage(experiment, row, teacher, seed, start_weights, facts)
        for teacher in row.teachers
    )
    wanted = row.at(backbone, seed, sources, taught_by)
    problem = partial(Problem, where=experiment.setting_place, rows=(row.name,))
    try:
        own = tuple(fact for fact in facts if row.trains_on(fact.name))
        evaluations = row.scheme.plan(wanted, own)
        stages = [
            reached
            for evaluation in evaluations
            for stage in evaluation.embedders.values()
            for reached in with_earlier(stage)
        ]
    except Exception as error:  # a plug-in's own code
        message = f"'{wanted.scheme.use}' cannot plan this row: {type(error).__name__}: {error}"
        raise ConfigError([problem(key="scheme", message=message)]) from error
    refused = [
        f"'{wanted.scheme.use}' plans '{stage_title(stage)}' {why}"
        for stage in stages
        for why in teacher_problems(stage)
    ]
    if refused:
        raise ConfigError(problem(key="scheme", message=message) for message in refused)
    left_out = [fact.name for fact in facts if fact not in own]
    if left_out and not all(evaluation.merged for evaluation in evaluations):
        message = (
            f"'{wanted.scheme.use}' has no model that embeds {', '.join(left_out)} too, which the"
            " row does not train on but is tested on; leave `domains` out, or choose a scheme that"
            " trains one student"
        )
        raise ConfigError([problem(key="domains", message=message)])
    most = max((stage.training.steps for stage in stages if stage.training), default=0)
    if most > _MOST_STEPS:
        message = (
            f"steps, or epochs times images, times scale come to {most} steps, allowed are at most"
            f" {_MOST_STEPS}"
        )
        raise ConfigError([problem(key="budget", message=message)])
    tta = None if row.spec.tta == "none" else row.spec.tta
    return tuple(
        attrs.evolve(_also_on(left_out, evaluation, facts), tta=tta) for evaluation in evaluations
    )


def _also_on(
    left_out: Collection[str], evaluation: EvaluationSpec, facts: tuple[DomainFacts, ...]
) -> EvaluationSpec:
    """An evaluation that embeds further domains with the stage that embeds its own."""
    if not left_out:
        return evaluation
    stage = next(iter(evaluation.embedders.values()))
    found = {**evaluation.embedders, **dict.fromkeys(left_out, stage)}
    in_order = {fact.name: found[fact.name] for fact in facts if fact.name in found}
    return attrs.evolve(evaluation, embedders=in_order)


def _teacher_stage(
    experiment: Experiment,
    row: RowConfig,
    teacher: RowTeacher,
    seed: int,
    start_weights: Mapping[str, StartWeights],
    facts: tuple[DomainFacts, ...],
) -> StageSpec:
    """The stage that a named teacher of a row is.

    A backbone as it is is a stage of no steps, which all rows that name it share.
    """
    if teacher.backbone is None:
        key, name = f"teachers.{teacher.name}.row", row.taught_by[teacher.name]
        return _source_stage(experiment, row, name, seed, start_weights, facts, key)
    config = experiment.backbones[teacher.backbone]
    return StageSpec(
        domains=tuple(fact.name for fact in facts if fact.train_images),
        backbone=backbone_spec(config, start_weights[teacher.backbone]),
        transform=Transform(crop=teacher.crop or row.spec.transform.crop),
        precision=row.spec.precision,
    )


def _source_stage(
    experiment: Experiment,
    row: RowConfig,
    name: str,
    seed: int,
    start_weights: Mapping[str, StartWeights],
    facts: tuple[DomainFacts, ...],
    key: str = "init.from",
) -> StageSpec:
    """The stage of the student of a row that another one starts from, or that teaches it.

    Raises:
        ConfigError: that row has none for all domains.
    """
    source = experiment.row(name)
    student = attrs.evolve(source, spec=attrs.evolve(source.spec, evaluate=("student",)))
    found: list[StageSpec] = []
    for evaluation in row_evaluations(experiment, student, seed, start_weights, facts):
        for stage in evaluation.embedders.values():
            if stage not in found:  # stages hold tables, so they are in no set
                found.append(stage)
    if len(found) == 1:
        return found[0]
    message = (
        f'got "{name}", which gives {len(found)} models, one for each domain; allowed is a row'
        " whose student is one model for all domains"
    )
    place = experiment.setting_place
    raise ConfigError([Problem(where=place, rows=(row.name,), key=key, message=message)])

"""What is wrong with the models of experiments: each is built, and tried on a few real images."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs
import torch
from torch import Tensor

from registry.contracts import Batch, Branch, DomainFacts, StageSpec
from udonx.config.problems import Problem
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore
from udonx.engine.build import apply_init, build_losses, build_model, build_update
from udonx.engine.errors import TrainingError
from udonx.engine.job import teacher_sizes
from udonx.engine.model import Model
from udonx.engine.optim import layer_factors
from udonx.engine.rehearsal import Rehearsal, first_batch, rehearse_sampler
from udonx.inputs.open import Inputs
from udonx.planning.plan import start_of
from udonx.planning.stages import training_data


@attrs.define
class WantedStage:
    """A stage that is to be trained, and who wants it.

    Attributes:
        spec: the stage.
        facts: of the domains of its data.
        benchmark: its data.
        images: the images of the data.
        domain: one whose images can be looked at; None where there is none.
        folder: its start weights; None where they are random.
        where: the setting that it is of, as problems name it.
        rows: the rows that want it.
    """

    spec: StageSpec
    facts: tuple[DomainFacts, ...]
    benchmark: Benchmark
    images: ImageStore
    domain: str | None
    folder: Path | None
    where: str
    rows: list[str] = attrs.field(factory=list)

    @classmethod
    def of(cls, inputs: Inputs, spec: StageSpec) -> WantedStage:
        """A stage of an experiment, which no row wants yet."""
        data, experiment = inputs.data, inputs.experiment
        return cls(
            spec,
            data.facts,
            training_data(spec, data.benchmark),
            data.images,
            next((name for name in spec.domains if name not in data.broken), None),
            start_of(experiment, inputs.start_weights, spec.backbone).folder,
            experiment.setting_place,
        )

    def problem(self, message: str) -> Problem:
        """What is wrong with it."""
        return Problem(where=self.where, rows=tuple(dict.fromkeys(self.rows)), message=message)


@attrs.frozen
class ModelSize:
    """How many parameters a model has.

    Attributes:
        fixed: those that do not depend on its classes.
        per_class: those of each class, of all its branches.
    """

    fixed: int
    per_class: int

    @classmethod
    def at_least(cls, spec: StageSpec) -> ModelSize:
        """What is known of a model that cannot be built: a direction of each branch per class."""
        heads = (spec.student_head, spec.teacher_head) if spec.training else ()
        return cls(fixed=0, per_class=sum(head.dim for head in heads if head))

    @classmethod
    def of(cls, model: Model) -> ModelSize:
        """That of a model; the first dimension of a classifier's parameters is its classes."""
        fixed = per_class = 0
        for name, value in model.named_parameters():
            if "_classifiers." not in name:
                fixed += value.numel()
            elif "_classifiers.parts.0." in name:
                per_class += value[0].numel()
        return cls(fixed, per_class)


class ModelCheck:
    """The models of all stages that are to be trained.

    Each different one is built once, with its weights, and its stages' losses and samplers are
    called on a few real images: what fails here would fail after hours.
    """

    def __init__(self) -> None:
        self.wanted: dict[str, WantedStage] = {}
        self.sizes: dict[str, ModelSize] = {}  # of each different model
        # what a model, untrained, teaches on the first images of a domain
        self._taught: dict[tuple[str, str], Branch] = {}
        self._batches: dict[str, Batch] = {}
        self._samplers: dict[str, str | None] = {}  # what is wrong with each, None for nothing

    def add(self, inputs: Inputs, identity: str, spec: StageSpec, rows: Iterable[str]) -> None:
        """Note that rows want a stage."""
        if identity not in self.wanted:
            self.wanted[identity] = WantedStage.of(inputs, spec)
        self.wanted[identity].rows.extend(rows)

    def problems(self) -> Iterator[Problem]:
        """What cannot be built, or fails on the first images."""
        groups: dict[str, list[WantedStage]] = {}
        for stage in self.wanted.values():
            groups.setdefault(model_key(stage.spec), []).append(stage)
        teachers = {
            model_key(teacher.stage)
            for stage in self.wanted.values()
            for teacher in stage.spec.teachers
        }
        # so that few models of teachers are built for their students alone
        for key in sorted(groups, key=lambda key: key not in teachers):
            stages = sorted(groups[key], key=lambda stage: stage.domain is None)
            self.sizes[key] = ModelSize.at_least(stages[0].spec)
            try:
                model = self._build(stages[0].spec, stages[0])
            except Exception as error:
                rows = [row for stage in stages for row in stage.rows]
                yield attrs.evolve(stages[0], rows=rows).problem(_cannot_be_built(error))
                continue
            self.sizes[key] = ModelSize.of(model)
            yield from self._rehearse(model, stages)

    def _build(self, spec: StageSpec, stage: WantedStage) -> Model:
        """A model with the classes of the domain that is looked at.

        Two classes stand for those of every other.
        """
        classes = {
            domain.name: max(2, domain.train_classes) if domain.name == stage.domain else 2
            for domain in stage.facts
        }
        model = build_model(spec, classes, stage.folder if spec is stage.spec else None)
        if spec is stage.spec and spec.init is not None:
            sources = [build_model(source, classes, None) for source in spec.init.stages]
            apply_init(model, spec.init, sources)
        return model

    def _rehearse(self, model: Model, stages: list[WantedStage]) -> Iterator[Problem]:
        """Call what is different in stages that have one model."""
        rehearsal, first = None, stages[0]
        domain = first.domain
        for stage in stages:
            if stage.spec.training is None:
                continue
            try:
                # the model has the domains of the first stage
                spec = attrs.evolve(stage.spec, domains=first.spec.domains)
                counts = _class_counts(first)
                build_losses(spec, counts)
                build_update(
                    stage.spec,
                    [{"params": list(model.parameters()), "lr": 0.0}],
                    stage.spec.training.optimiser,
                )
                if decay := stage.spec.training.optimiser.layer_decay:
                    layer_factors(model.backbone, decay)
                if rehearsal is None and domain is not None:
                    rehearsal = Rehearsal(model, self._batch(first, domain))
                    self._taught[model_key(first.spec), domain] = rehearsal.teaching()
                if rehearsal is not None and domain is not None:
                    teaching = self._teaching(stage.spec, first, domain)
                    named = self._named(stage, domain)
                    for message in rehearsal.problems(spec, teaching, counts, named):
                        yield stage.problem(message)
                if problem := self._sampler(stage, rehearsal.values if rehearsal else {}):
                    yield stage.problem(problem)
            except (TrainingError, DataError) as error:
                yield stage.problem(str(error))
            except Exception as error:
                yield stage.problem(_cannot_be_built(error))

    def _batch(self, stage: WantedStage, domain: str) -> Batch:
        """The first images of a domain, as a stage loads them."""
        spec = stage.spec
        training = spec.required_training
        seed = None if training.subset is None else spec.seed
        drawn = (training.batch, training.per_class, training.subset, seed, teacher_sizes(spec))
        key = repr((stage.benchmark.root, domain, spec.transform, *drawn))
        if key not in self._batches:
            self._batches[key] = first_batch(stage.benchmark, stage.images, spec, domain)
        return self._batches[key]

    def _teaching(self, spec: StageSpec, first: WantedStage, domain: str) -> Branch | None:
        """What the earlier teacher of a stage will teach on the first images of a domain.

        The teacher is not trained yet.
        """
        own = (teacher for teacher in spec.teachers if teacher.name is None)
        teacher = next((each.stage for each in own if domain in each.taught_domains), None)
        if teacher is None:
            return None
        key = (model_key(teacher), domain)
        if key not in self._taught:
            model = self._build(teacher, first)
            self._taught[key] = Rehearsal(model, self._batch(first, domain)).teaching()
        return self._taught[key]

    def _named(self, stage: WantedStage, domain: str) -> dict[str, Branch]:
        """What the named teachers of a stage make of the first images of a domain, untrained."""
        branches = {}
        for teacher in stage.spec.teachers:
            if teacher.name is None or domain not in (teacher.domains or stage.spec.domains):
                continue
            key = (f"named {model_key(teacher.stage)}", domain)
            if key not in self._taught:
                model = self._build(teacher.stage, stage)
                batch = self._batch(stage, domain)
                self._taught[key] = Rehearsal(model, batch).answering()
            branches[teacher.name] = self._taught[key]
        return branches

    def _sampler(self, stage: WantedStage, values: Mapping[str, float]) -> str | None:
        """What is wrong with a stage's sampler, in one sentence."""
        training = stage.spec.required_training
        signal = values.get(training.sampler.options.get("signal", ""), 1.0)
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


def _class_counts(stage: WantedStage) -> dict[str, Tensor]:
    """Training images of each class that the model of a stage is built with (`_build`)."""
    counts = {domain: torch.ones(2, dtype=torch.int64) for domain in stage.spec.domains}
    if stage.domain in counts:
        real = torch.from_numpy(stage.benchmark.class_counts(stage.domain))
        counts[stage.domain] = torch.cat([real, real.new_ones(max(0, 2 - len(real)))])
    return counts


def _cannot_be_built(error: Exception) -> str:
    """The sentence for what a component raises while it is built.

    An error that is no component's fault, such as lack of memory, is raised again.
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


def model_key(spec: StageSpec) -> str:
    """The key of a stage's model.

    Models of one key differ in their seed and in the domains of their classifiers alone, and not in
    these where earlier stages teach them or start them, which are asked about a domain by its name.
    """
    init = spec.init and (
        (spec.init.use, spec.init.options),
        [(model_key(source), source.domains) for source in spec.init.stages],
    )
    return repr(
        (
            spec.domains if spec.earlier else (),
            spec.backbone,
            spec.transform.crop,
            spec.student_head,
            spec.teacher_head,
            spec.classifier,
            spec.training is None,
            init,
        )
    )

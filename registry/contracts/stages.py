"""What is trained and what is evaluated, as plain values: components, stages, evaluations."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from registry.contracts.options import (
    Average,
    Optimiser,
    Schedule,
    Steps,
    Subset,
    Transform,
)


@attrs.frozen(kw_only=True)
class ComponentSpec:
    """A registered component with its options.

    Attributes:
        use: its name in the registry.
        options: all of its options, but for those that are None.
        version: the component's own, raised by its author when its numbers change.
        source: the hash of its code, so that an edited plug-in is not taken for the one that a
            stage was trained with; None for a component that ships with the project.
        files: the hashes of the files that its options of type Path name; None without any.
    """

    use: str
    options: dict[str, Any] = attrs.field(factory=dict)
    version: int = 1
    source: str | None = None
    files: dict[str, str] | None = None


@attrs.frozen(kw_only=True)
class BackboneSpec(ComponentSpec):
    """A backbone and where it starts.

    Attributes:
        weights: the sha256 of the start weights, or "random" (initialised from the seed).
        mean: what is subtracted from the channels of an image, each between 0 and 1.
        std: what they are then divided by.
    """

    weights: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@attrs.frozen(kw_only=True)
class HeadSpec(ComponentSpec):
    """A head, and the length of its embedding.

    Attributes:
        dim: the length of its embedding.
        classifier: what turns its embedding into the cosines of classes while it is trained; None
            for the cosine classifier.
    """

    dim: int
    classifier: ComponentSpec | None = None


@attrs.frozen(kw_only=True)
class LossSpec(ComponentSpec):
    """A weighted term of the total loss.

    Attributes:
        name: the term's name in the row.
        weight: its factor in the total.
        on: the branch of a loss on one branch; None for a loss between student and teacher.
        teacher: of a loss between student and teacher, the named teacher that it learns from; "*"
            for every named one; None for the teacher of the scheme.
        ramp: over how many steps the weight grows linearly from 0, in steps once a stage has it;
            None for the full weight from the first step on.
    """

    name: str
    weight: float = 1.0
    on: Literal["teacher", "student"] | None = None
    ramp: Steps | None = None
    teacher: str | None = None

    def weight_at(self, step: int) -> float:
        """The weight at 0-based `step`, of a loss whose `ramp` is in steps.

        Example:
            >>> [LossSpec(name="kl", use="kl_logit", ramp=2).weight_at(step) for step in range(4)]
            [0.0, 0.5, 1.0, 1.0]
        """
        return self.weight if self.ramp is None else self.weight * min(1.0, step / int(self.ramp))


@attrs.frozen(kw_only=True)
class Training:
    """What a stage that trains needs beside its model; every cadence is in steps of this stage.

    Attributes:
        steps: how long it trains.
        batch: images in a batch.
        losses: the terms of the total loss.
        sampler: which domain the next batch comes from.
        optimiser: its `frozen` is in steps.
        schedule: its `warm_up` is in steps.
        validate_every: steps between two validations.
        normalise_total: whether the total is divided by the sum of the weights.
        distill_to_backbone: whether the distillation losses train the backbone too.
        student_head_group: "backbone" where the student's projection trains with the backbone's
            rate and frozen phase (the published baselines); None: with the heads.
        average: the mean over steps that is kept in place of the weights, its `start` in steps;
            None: the weights are kept.
        update: the rule by which gradients move the weights; None for "adamw".
        per_class: images of each class in a batch; None where the images of a domain come round
            alike.
        subset: which training images and labels it sees, drawn from the seed of the stage; None
            for all.
    """

    steps: int
    batch: int
    losses: tuple[LossSpec, ...]
    sampler: ComponentSpec
    optimiser: Optimiser
    schedule: Schedule
    validate_every: int
    normalise_total: bool = True
    distill_to_backbone: bool = True
    student_head_group: Literal["backbone"] | None = None
    average: Average | None = None
    update: ComponentSpec | None = None
    per_class: int | None = None
    subset: Subset | None = None


@attrs.frozen(kw_only=True)
class TeacherSpec:
    """An earlier stage that teaches another one, frozen.

    Attributes:
        stage: The stage that teaches.
        name: What losses ask for it by; None for the teacher of its domains.
        domains: The domains that it teaches; None for all that its stage was trained on.
        adapter: The head, trained with the student's and thrown away at the end, by which the
            student answers it: from what `reads` says to the length of the teacher's embedding.
            None: the student's embedding is the answer.
        reads: "features" where the adapter is given the student's features; None for its embedding.
    """

    stage: StageSpec
    name: str | None = None
    domains: tuple[str, ...] | None = None
    adapter: ComponentSpec | None = None
    reads: Literal["features"] | None = None

    @property
    def taught_domains(self) -> tuple[str, ...]:
        """The domains whose images it teaches on."""
        return self.stage.domains if self.domains is None else self.domains


@attrs.frozen(kw_only=True)
class InitSpec(ComponentSpec):
    """How a stage's model starts from those of earlier stages.

    Attributes:
        stages: the earlier stages, in the order in which the row names them.
    """

    stages: tuple[StageSpec, ...]


@attrs.frozen(kw_only=True)
class StageSpec:
    """One training job, or the fitting of a head, or neither: features as they are.

    Its canonical form, with the facts of its data and start weights, is its identity.

    Attributes:
        domains: what it is trained on.
        backbone: the model that its heads lie on.
        transform: sizes and augmentation.
        precision: of the backbone.
        student_head: the head of the student; None where it has none.
        teacher_head: the head of each domain's teacher; None where it has none.
        classifier: whether the student has one classifier per domain, or one for all.
        teachers: earlier stages that it learns from. Exactly one of those without a name teaches
            each of its domains.
        training: how it is trained; None where it is not.
        seed: what everything random follows from; None where nothing is random.
        init: the earlier stages that its weights start from; None where they start from the start
            weights and the seed.
    """

    domains: tuple[str, ...]
    backbone: BackboneSpec
    transform: Transform
    precision: Literal["fp32", "bf16"] = "fp32"
    student_head: HeadSpec | None = None
    teacher_head: HeadSpec | None = None
    classifier: Literal["separate", "joint"] = "separate"
    teachers: tuple[TeacherSpec, ...] = ()
    training: Training | None = None
    seed: int | None = None
    init: InitSpec | None = None

    @property
    def earlier(self) -> tuple[StageSpec, ...]:
        """The stages that it learns from or starts from."""
        starts = self.init.stages if self.init else ()
        return (*(teacher.stage for teacher in self.teachers), *starts)

    @property
    def required_training(self) -> Training:
        """`training`, of a stage that trains.

        Raises:
            ValueError: one that does not.
        """
        if self.training is None:
            raise ValueError(f"a stage of {', '.join(self.domains)} has no training")
        return self.training


@attrs.frozen(kw_only=True)
class EvaluationSpec:
    """What is embedded with what.

    One embedder for all domains gives the merged and the own-domain index; several give the
    own-domain index only.

    Attributes:
        branch: one of the scheme's `branches`: "student", "teacher" or "feature".
        embedders: the stage that embeds each domain.
        tta: "flip" where the embeddings of an image and its mirror image are averaged; None where
            images are embedded as they are. A row's `tta` decides it, not its scheme.
    """

    branch: str
    embedders: dict[str, StageSpec]
    tta: Literal["flip"] | None = None

    @property
    def merged(self) -> bool:
        """Whether one embedding serves all domains, so that a merged index makes sense."""
        stages = list(self.embedders.values())
        return self.branch != "teacher" and all(
            stage is stages[0] or stage == stages[0] for stage in stages
        )


@attrs.frozen(kw_only=True)
class DomainFacts:
    """What planning needs to know of a domain.

    Attributes:
        name: the domain's.
        train_images: how many training images it has.
        train_classes: how many classes they are of.
    """

    name: str
    train_images: int
    train_classes: int

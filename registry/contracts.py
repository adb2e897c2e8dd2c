"""The vocabulary that components speak.

Value classes and protocols, without behaviour and without torch.

Shape suffixes: B batch, C classes, D student dimension, E teacher dimension, F backbone features, H
W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import attrs
from pydantic import Field

from registry.options import Cadence

Steps = Annotated[int | str, Cadence, Field(json_schema_extra={"unit": "steps"})]
"""A number of steps (`400`) or a share of the stage's own budget (`"20%"`, `"2/7"`)."""

Orientation = Literal["stored", "exif"]
Positive = Annotated[int, Field(gt=0)]
Pixels = Annotated[int, Field(gt=0, json_schema_extra={"unit": "pixels"})]
Rate = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]

# ---------------------------------------------------------------------------------------- options


def _stored_as_none(orientation: Orientation | None) -> Orientation | None:
    """None for "stored": identities leave None out, so that saying the default changes no id."""
    return None if orientation == "stored" else orientation


@attrs.frozen(kw_only=True)
class Transform:
    """Image sizes and augmentation; in evaluation the smaller edge is resized to `crop`.

    Then the centre is cut out. Every resize is bilinear, without antialiasing, as in the released
    UDON code.
    """

    mode: Annotated[
        Literal["resize_crop", "random_resized_crop"],
        Field(
            description=(
                "How a training image is cut: `resize_crop` resizes it to a square and takes a"
                " random crop; `random_resized_crop` cuts a random box and resizes that."
            )
        ),
    ] = "resize_crop"
    resize: Annotated[
        Pixels,
        Field(description="With `resize_crop`: edge of the square, whatever the aspect ratio."),
    ] = 256
    crop: Annotated[
        Pixels, Field(description="Edge of what the model sees, in training and evaluation.")
    ] = 224
    flip: Annotated[
        bool, Field(description="Mirrors half of the training images left to right.")
    ] = True
    scale: Annotated[
        tuple[Share, Share],
        Field(
            description="With `random_resized_crop`: smallest and largest box.",
            json_schema_extra={"unit": "share of the image's area"},
        ),
    ] = (0.25, 1.0)
    orientation: Annotated[
        Orientation | None,
        Field(
            description=(
                "Whether an image comes as it is `stored` (as in the released code; the default) or"
                " turned upright by its `exif` orientation, as phones expect."
            )
        ),
    ] = attrs.field(default=None, converter=_stored_as_none)


@attrs.frozen(kw_only=True)
class Optimiser:
    """AdamW in two groups: heads with classifiers, and the backbone, which is frozen at first."""

    lr_heads: Annotated[
        Rate, Field(description="Learning rate of the heads, from the first step on.")
    ] = 1e-3
    lr_backbone: Annotated[
        Rate, Field(description="Learning rate of the backbone once it is no longer frozen.")
    ] = 1e-5
    weight_decay: Annotated[
        Rate,
        Field(
            description="Decoupled weight decay of all parameters; multiplied by the learning rate."
        ),
    ] = 1e-6
    beta1: Annotated[float, Field(ge=0, lt=1, description="Decay of Adam's first moment.")] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1, description="Decay of Adam's second moment.")] = 0.999
    eps: Annotated[float, Field(gt=0, description="Added to Adam's denominator.")] = 1e-8
    frozen: Annotated[Steps, Field(description="How long the backbone stays as it starts.")] = "20%"
    freeze: Annotated[
        Literal["no_grad", "zero_lr", "official"],
        Field(
            description=(
                "How it is held: `no_grad` runs no backward pass through it and starts its Adam"
                " count when it wakes; `zero_lr` computes gradients, so that its moments"
                " accumulate; `official` is `zero_lr` for one step more, as the released code"
                " counts."
            )
        ),
    ] = "no_grad"
    inactive_heads: Annotated[
        Literal["drift", "skip"],
        Field(
            description=(
                "Heads of the domains that are not in the batch: `drift` gives them zero gradients,"
                " so that momentum moves them (the released code); `skip` leaves them alone."
            )
        ),
    ] = "drift"


@attrs.frozen(kw_only=True)
class Schedule:
    """Learning rate over time: a factor on the rates of both groups."""

    use: Annotated[
        Literal["constant", "cosine"],
        Field(description="After the warm-up: `constant`, or `cosine` down to zero at the end."),
    ] = "constant"
    warm_up: Annotated[Steps, Field(description="How long the factor rises linearly to 1.")] = 0


@attrs.frozen(kw_only=True)
class Budget:
    """How long the student trains, in `steps` or `epochs`; teachers follow by `teacher_budget`."""

    steps: Annotated[
        Annotated[int, Field(gt=0, le=1_000_000_000)] | None,
        Field(description="Steps of the student.", json_schema_extra={"unit": "steps"}),
    ] = None
    epochs: Annotated[
        Annotated[float, Field(gt=0, le=1_000_000)] | None,
        Field(
            description=(
                "Instead of `steps`: an epoch is floor(training images of all domains / batch)"
                " steps."
            ),
            json_schema_extra={"unit": "epochs"},
        ),
    ] = None
    batch: Annotated[
        Positive,
        Field(
            description="Size of a batch, all of one domain.", json_schema_extra={"unit": "images"}
        ),
    ] = 128
    scale: Annotated[
        float,
        Field(
            gt=0,
            le=1_000_000,
            description=(
                "Factor on the steps or epochs, by which a row changes what its setting says"
                " without repeating it."
            ),
        ),
    ] = 1.0


@attrs.frozen(kw_only=True)
class Validation:
    """How the best step is chosen: by R@1 on the validation splits, the mean over domains."""

    every: Annotated[
        Steps, Field(description="How often the model is validated; the last step always is.")
    ] = "25%"


# ---------------------------------------------------------------------------------------- stages


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
    """A head.

    Attributes:
        dim: the length of its embedding.
    """

    dim: int


@attrs.frozen(kw_only=True)
class LossSpec(ComponentSpec):
    """A weighted term of the total loss.

    Attributes:
        name: the term's name in the row.
        weight: its factor in the total.
        on: the branch of a loss on one branch; None for a loss between student and teacher.
    """

    name: str
    weight: float = 1.0
    on: Literal["teacher", "student"] | None = None


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


@attrs.frozen(kw_only=True)
class TeacherSpec:
    """An earlier stage that teaches another one, frozen.

    Attributes:
        stage: The stage that teaches.
        name: What losses ask for it by; None for the teacher of its domains.
        domains: The domains that it teaches; None for all that its stage was trained on.
    """

    stage: StageSpec
    name: str | None = None
    domains: tuple[str, ...] | None = None

    @property
    def taught_domains(self) -> tuple[str, ...]:
        """The domains whose images it teaches on."""
        return self.stage.domains if self.domains is None else self.domains


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
    """

    branch: str
    embedders: dict[str, StageSpec]

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


# ------------------------------------------------------------------------------------------ rows


@attrs.frozen
class Slot:
    """Marks a key of a row that names components of a kind, in its annotation."""

    kind: str


@attrs.frozen(kw_only=True)
class Recipe:
    """How the models of a row are trained: each field is a key of a row, declared here alone.

    A key that the row's scheme has no slot for has its default, and the scheme does not read it.
    """

    losses: Annotated[
        tuple[LossSpec, ...],
        Slot("losses"),
        Field(
            description=(
                "The terms of the total loss, each a table `[losses.NAME]` or the name of a loss."
                " `NAME = false` removes an inherited one."
            )
        ),
    ] = ()
    teacher_head: Annotated[
        HeadSpec | None,
        Slot("heads"),
        Field(description="The head of each domain's teacher."),
    ] = None
    sampler: Annotated[
        ComponentSpec,
        Slot("samplers"),
        Field(description="Which domain the next batch comes from."),
    ] = ComponentSpec(use="round_robin")
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    budget: Budget = Budget()
    validation: Validation = Validation()
    classifier: Annotated[
        Literal["separate", "joint"],
        Field(
            description=(
                "Of the student: `separate` has one per domain, `joint` one over the classes of all"
                " domains."
            )
        ),
    ] = "separate"
    normalise_total: Annotated[
        bool,
        Field(description="Divides the weighted sum of the losses by the sum of their weights."),
    ] = True
    distill_to_backbone: Annotated[
        bool,
        Field(
            description=(
                "Lets the gradient of the distillation losses flow through the student's head into"
                " the backbone."
            )
        ),
    ] = True
    teacher_budget: Annotated[
        Literal["equal_exposure", "full"],
        Field(
            description=(
                "How long one model per domain trains: `equal_exposure` gives each the steps that"
                " round robin gives its domain within the student's budget, `full` all of that"
                " budget."
            )
        ),
    ] = "equal_exposure"


@attrs.frozen(kw_only=True)
class RowSpec:
    """One row of a table as its file says it.

    Each field but `recipe` is a key of a row, declared here alone.

    `recipe` is None where nothing is trained: where the scheme has no slot for any of its keys.
    """

    scheme: Annotated[
        ComponentSpec,
        Slot("schemes"),
        Field(description="Who teaches whom; every row has one, its own or from [defaults]."),
    ]
    transform: Transform = Transform()
    student_head: Annotated[
        HeadSpec | None,
        Slot("heads"),
        Field(description="The head whose embedding is the result."),
    ] = None
    evaluate: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description=(
                "Whose embeddings are evaluated: `student`, `teacher` or both; the scheme says"
                " which it has."
            ),
        ),
    ] = ("student",)
    precision: Annotated[
        Literal["fp32", "bf16"],
        Field(
            description=(
                "Of the backbone in training and evaluation; heads and losses are always fp32."
            )
        ),
    ] = "fp32"
    recipe: Recipe | None = None


@attrs.frozen(kw_only=True)
class Row(RowSpec):
    """A row for one backbone and one seed: what a scheme plans from.

    Attributes:
        name: the row's name in its file.
        backbone: the backbone of its role, with its start weights.
        seed: what everything random follows from.
    """

    name: str
    backbone: BackboneSpec
    seed: int


# ----------------------------------------------------------------------------------- in the step


@attrs.define(kw_only=True, eq=False)
class Batch:
    """One batch, of one domain.

    Attributes:
        images: float32 [B, 3, H, W], RGB, 0..255.
        labels: int64 [B], 0..C-1 within the domain.
        domain: the domain's name.
        ids: the paths of the images.
    """

    images: Any
    labels: Any
    domain: str
    ids: tuple[str, ...] = ()


@attrs.frozen(kw_only=True, eq=False)
class Branch:
    """What student or teacher makes of a batch.

    Attributes:
        features_BF: float32 [B, F], the backbone's features, each row of unit length.
        embedding_BD: float32 [B, D] (a teacher's [B, E]), each row of unit length.
        cosine_BC: float32 [B, C], cosines of the embeddings to the columns of the classifier.
        class_range: the columns of the batch's domain: label i is column `class_range.start + i`.
            A joint classifier holds the classes of all domains.
    """

    features_BF: Any
    embedding_BD: Any
    cosine_BC: Any
    class_range: range


@attrs.frozen(kw_only=True)
class Start:
    """What a backbone is built from.

    Attributes:
        folder: the folder of its start weights; None where they are random, or loaded afterwards.
        crop: the height and width of its images.
    """

    folder: Path | None
    crop: int


# ------------------------------------------------------------------------------------- protocols


class BranchLoss(Protocol):
    """A loss on one branch."""

    def __call__(self, branch: Branch, batch: Batch) -> Any:
        """The term of this batch, one scalar float tensor."""
        ...


class PairLoss(Protocol):
    """A loss between the student and its teacher; the teacher's side is never trained by it."""

    def __call__(self, student: Branch, teacher: Branch, batch: Batch) -> Any:
        """The term of this batch, one scalar float tensor."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """Which domain the next batch comes from.

    A sampler that follows a loss decides some steps ahead. The engine sums that loss per domain
    over a window of steps and hands the sums over where the sampler can decide no further.
    """

    def domain_at(self, step: int) -> str:
        """The domain of a step below `known_until()`."""
        ...

    def known_until(self) -> int:
        """The first step whose domain is not decided; there the engine calls `update`."""
        ...

    def clears_at(self, step: int) -> bool:
        """Whether the window of sums starts anew before this step."""
        ...

    def update(self, step: int, sums: Mapping[str, tuple[float, int]]) -> None:
        """Decide further.

        Args:
            step: `known_until()`.
            sums: per domain the sum of the loss over the images of the window, and their number.
        """
        ...

    def shares(self) -> dict[str, float]:
        """The share of each domain in the steps that come next."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the sampler has learnt, as plain data."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""
        ...


class Source(Protocol):
    """Where the images and splits of a benchmark come from.

    Its options are keys of `[data]`; one called `root` is what `--data` sets.

    A source is no part of what a stage is known by: that follows from the splits and images alone.
    """

    def domains(self) -> tuple[str, ...]:
        """All domains that the source has, in alphabetical order."""
        ...

    def problems(self, wanted: Sequence[str] | None) -> Iterable[tuple[str, str]]:
        """What is wrong, as (key of `[data]`, sentence), found without torch and without a network.

        Args:
            wanted: the domains that are to be used, in this order; None for all.
        """
        ...

    def open(self, wanted: Sequence[str] | None, progress: Callable[[int, int], None]) -> Any:
        """The benchmark (`udonx.data.benchmark.Benchmark`) with the wanted domains.

        Args:
            wanted: the domains that are to be used, in this order; None for all.
            progress: told of something long: how many of how many images are done.
        """
        ...


class Scheme(Protocol):
    """Who teaches whom.

    Attributes:
        slots: keys that a row of this scheme may have beside the common ones.
        default_row: the base layer of its rows.
        fixed_row: what it decides over settings and defaults.
        teacher: whether there is one and when it is trained, so that a loss or sampler that needs
            one can be refused.
        branches: what `evaluate` may name.
    """

    slots: frozenset[str]
    default_row: Mapping[str, Any]
    fixed_row: Mapping[str, Any]
    teacher: Literal["none", "together", "beforehand"]
    branches: tuple[str, ...]

    def plan(self, row: Row, facts: tuple[DomainFacts, ...]) -> tuple[EvaluationSpec, ...]:
        """The evaluations that a row wants and, through them, the stages they need.

        It is a pure function of the row and its domains.
        """
        ...


class Metric(Protocol):
    """A retrieval metric: a pure function of where the relevant items stand in a query's ranking.

    Shapes: Q queries, K neighbours.

    Attributes:
        label: the header of the metric's column in a table, such as `R@1`.
        depth: how many neighbours it reads; None for as many as the query with the most relevant
            items has.
    """

    label: str
    depth: int | None

    def __call__(self, relevant_QK: Any, relevant_Q: Any) -> Any:
        """The metric of every query; a query's value depends on its own row alone.

        Args:
            relevant_QK: bool [Q, K], whether the neighbour at each rank is relevant, best first.
                K is `depth`. The query itself is left out; behind the end of the index is False.
            relevant_Q: int64 [Q], relevant items in the whole index, without the query itself.

        Returns:
            float64 [Q], each between 0 and 1.
        """
        ...

"""What a row of an experiment file says; every key of a row is a field here, declared once."""

from __future__ import annotations

from typing import Annotated, Literal

import attrs
from pydantic import Field

from registry.contracts.options import (
    Average,
    Budget,
    Optimiser,
    Schedule,
    Subset,
    Transform,
    Validation,
)
from registry.contracts.stages import (
    BackboneSpec,
    ComponentSpec,
    HeadSpec,
    LossSpec,
    StageSpec,
)


@attrs.frozen
class Slot:
    """Marks a key of a row that names components of a kind, in its annotation."""

    kind: str


@attrs.frozen(kw_only=True)
class RowInit(ComponentSpec):
    """How a row starts from other rows, as its file says it.

    Attributes:
        rows: the names of those rows.
    """

    rows: tuple[str, ...]


@attrs.frozen(kw_only=True)
class RowTeacher:
    """A teacher that a row names: another row's student, or a backbone as it is.

    Attributes:
        name: what losses ask for it by.
        row: the row whose student's stage of the same seed teaches; None where `backbone` is given.
        backbone: the role of the backbone; None where `row` is given.
        domains: those that it teaches; None for all of the row.
        crop: at which edge in pixels a backbone sees the images; None for that of the row.
        adapter: how the student answers it, a head; None for its embedding.
        reads: "features" where the adapter is given the student's features; None for its embedding.
    """

    name: str
    row: str | None = None
    backbone: str | None = None
    domains: tuple[str, ...] | None = None
    crop: int | None = None
    adapter: ComponentSpec | None = None
    reads: Literal["features"] | None = None


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
    teachers: Annotated[
        tuple[RowTeacher, ...],
        Field(
            description=(
                "Teachers beside that of the scheme, each a table `[teachers.NAME]`: another row's"
                " student, or a backbone of the setting as it is. Losses ask for them by `teacher ="
                ' "NAME"`, or "*" for all. `NAME = false` removes an inherited one.'
            )
        ),
    ] = ()
    teacher_head: Annotated[
        HeadSpec | None,
        Slot("heads"),
        Field(description="The head of each domain's teacher."),
    ] = None
    student_classifier: Annotated[
        ComponentSpec | None,
        Slot("classifiers"),
        Field(description="The class columns of the student; without it `cosine`."),
    ] = None
    teacher_classifier: Annotated[
        ComponentSpec | None,
        Slot("classifiers"),
        Field(description="The class columns of each domain's teacher; without it `cosine`."),
    ] = None
    sampler: Annotated[
        ComponentSpec,
        Slot("samplers"),
        Field(description="Which domain the next batch comes from."),
    ] = ComponentSpec(use="round_robin")
    update: Annotated[
        ComponentSpec,
        Slot("updates"),
        Field(description="The rule by which gradients move the weights; without it `adamw`."),
    ] = ComponentSpec(use="adamw")
    init: Annotated[
        RowInit | None,
        Slot("inits"),
        Field(
            description=(
                "The rows that the student's stage starts from, and how; without it the start"
                " weights and the seed say it."
            )
        ),
    ] = None
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    average: Average = Average()
    budget: Budget = Budget()
    subset: Subset = Subset()
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
    domains: Annotated[
        Annotated[tuple[str, ...], Field(min_length=1)] | None,
        Field(
            description=(
                "The domains that the row trains on, of those of the data; without it all. It is"
                " validated on these, and tested on all, with one index of all."
            )
        ),
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
    tta: Annotated[
        Literal["none", "flip"],
        Field(
            description=(
                "Augmentation of test images, queries and index alike: with `flip` an embedding is"
                " the mean of the image's and its mirror image's, of unit length. Training and"
                " validation do not read it."
            )
        ),
    ] = "none"
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
        sources: the student's stages of the rows that `init` names, in its order.
        taught_by: the stages of the row's `teachers`, in their order.
    """

    name: str
    backbone: BackboneSpec
    seed: int
    sources: tuple[StageSpec, ...] = ()
    taught_by: tuple[StageSpec, ...] = ()

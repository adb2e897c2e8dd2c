"""The stages that schemes are made of: pure functions from a resolved row to StageSpecs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from registry import classifiers, samplers
from registry.contracts import (
    Average,
    ComponentSpec,
    DomainFacts,
    HeadSpec,
    InitSpec,
    LossSpec,
    Recipe,
    Row,
    StageSpec,
    Subset,
    TeacherSpec,
    Training,
    Transform,
)
from registry.options import parse_share

_RECIPE = frozenset(field.name for field in attrs.fields(Recipe))
_OF_TEACHERS = frozenset(
    {"teacher_head", "teacher_classifier", "distill_to_backbone", "teacher_budget"}
)

TRAINING_SLOTS = (_RECIPE - _OF_TEACHERS) | {"student_head", "domains"}
"""Slots of a scheme that trains one student."""

TEACHER_SLOTS = TRAINING_SLOTS | {"teacher_head", "teacher_classifier", "distill_to_backbone"}
"""Slots of a scheme whose student learns from teachers."""

CLASSIFICATION_ROW: Mapping[str, Any] = {"losses": {"student_ce": {"use": "ce", "on": "student"}}}
"""Classification of the student alone."""

PUBLISHED_EPOCHS = 7 / 10
"""How much of the budget the published baselines take in the released code of UnED: seven epochs of
ten.
"""

PUBLISHED_ROW: Mapping[str, Any] = {"optimiser": {"frozen": "2/7"}, "validation": {"every": "1/7"}}
"""What the published baselines fix of their own budget: frozen for two of seven epochs, validated
after each.
"""

DISTILLATION_ROW: Mapping[str, Any] = {
    "losses": {
        "teacher_ce": {"use": "ce", "on": "teacher"},
        "student_ce": {"use": "ce", "on": "student"},
        "kl_logit": {"use": "kl_logit"},
        "relational": {"use": "relational"},
    }
}
"""The four terms of UDON, all weights 1 (docs/method.md, "Losses")."""


def recipe_of(row: Row) -> Recipe:
    """How the models of a row are trained.

    Raises:
        ValueError: the row's scheme has no slots of training.
    """
    if row.recipe is None:
        raise ValueError(f"scheme '{row.scheme.use}' trains, so its slots need TRAINING_SLOTS")
    return row.recipe


def student_steps(row: Row, facts: tuple[DomainFacts, ...], *, published: bool = False) -> int:
    """Steps of the student's budget.

    They are `steps`, or `epochs` of floor(training images / batch) steps, times `scale`;
    `published` takes seven tenths of them.
    """
    budget = recipe_of(row).budget
    if budget.steps is not None:
        steps = budget.steps * budget.scale
    else:
        assert budget.epochs is not None  # a budget has one of the two
        epoch = sum(domain.train_images for domain in facts) // budget.batch
        steps = budget.epochs * epoch * budget.scale
    return max(1, round(steps * PUBLISHED_EPOCHS if published else steps))


def steps_per_domain(
    row: Row, facts: tuple[DomainFacts, ...], *, published: bool = False
) -> list[int]:
    """How long a model of each domain trains.

    Under `equal_exposure` it is the steps that round robin gives the domain within the student's
    budget, else all of that budget.
    """
    steps = student_steps(row, facts, published=published)
    if recipe_of(row).teacher_budget == "full":
        return [steps] * len(facts)
    return [max(1, share) for share in round_robin_steps(steps, len(facts))]


def round_robin_steps(steps: int, domains: int) -> list[int]:
    """How many of `steps` each domain gets when they take turns.

    Example:
        >>> round_robin_steps(10, 4)
        [3, 3, 2, 2]
    """
    return [steps // domains + (position < steps % domains) for position in range(domains)]


def read_transform(transform: Transform, trains: bool) -> Transform:
    """The transform with what its stage does not read at its default.

    So what is not read is no part of the stage's identity.

    Example:
        >>> read_transform(Transform(resize=54, crop=48, scale=(0.5, 1.0)), trains=True).scale
        (0.25, 1.0)
    """
    if not trains:
        return Transform(crop=transform.crop)
    default = Transform()
    if transform.mode == "resize_crop":
        return attrs.evolve(transform, scale=default.scale)
    return attrs.evolve(transform, resize=default.resize)


def _round_robin() -> ComponentSpec:
    return ComponentSpec(use="round_robin", version=samplers.describe("round_robin").version)


def _resolved(sampler: ComponentSpec, steps: int) -> ComponentSpec:
    """A sampler whose cadences are steps, and what it does not read at its default.

    "25%" of 8 steps and 2 are the same sampler. A sampler may have `unread(options)`, the names of
    options that others make meaningless.
    """
    described, cls = samplers.describe(sampler.use), samplers.get(sampler.use)
    unread = cls.unread(sampler.options) if hasattr(cls, "unread") else frozenset()
    options = {
        name: described.defaults()[name] if name in unread else value
        for name, value in sampler.options.items()
    }
    cadences = {option.name for option in described.options if option.type["type"] == "steps"}
    options = {
        name: parse_share(value, steps) if name in cadences else value
        for name, value in options.items()
    }
    return attrs.evolve(sampler, options=options)


def read_average(average: Average, steps: int) -> Average | None:
    """The average with its start in steps; None where the weights themselves are kept.

    What it does not read is at its default, so that it is no part of the stage's identity.

    Example:
        >>> read_average(Average(use="tail", decay=0.9, start="25%"), steps=8)
        Average(use='tail', decay=0.999, start=2)
    """
    if average.use == "none":
        return None
    decay = average.decay if average.use == "ema" else Average().decay
    return attrs.evolve(average, decay=decay, start=parse_share(average.start, steps))


def read_ramp(loss: LossSpec, steps: int) -> LossSpec:
    """The loss with its ramp in steps; None where it has the full weight from the first step on.

    Example:
        >>> read_ramp(LossSpec(name="kl", use="kl_logit", ramp="25%"), steps=8).ramp
        2
    """
    ramp = None if loss.ramp is None else parse_share(loss.ramp, steps) or None
    return attrs.evolve(loss, ramp=ramp)


def _training(
    row: Row,
    steps: int,
    losses: tuple[LossSpec, ...],
    sampler: ComponentSpec,
    *,
    distill_to_backbone: bool = True,
    published: bool = False,
) -> Training:
    recipe = recipe_of(row)
    return Training(
        steps=steps,
        batch=recipe.budget.batch,
        losses=tuple(read_ramp(loss, steps) for loss in losses),
        sampler=_resolved(sampler, steps),
        optimiser=attrs.evolve(
            recipe.optimiser, frozen=parse_share(recipe.optimiser.frozen, steps)
        ),
        schedule=attrs.evolve(recipe.schedule, warm_up=parse_share(recipe.schedule.warm_up, steps)),
        validate_every=max(1, parse_share(recipe.validation.every, steps)),
        normalise_total=recipe.normalise_total,
        distill_to_backbone=distill_to_backbone,
        student_head_group="backbone" if published else None,
        average=read_average(recipe.average, steps),
        update=None if recipe.update == Recipe().update else recipe.update,
        per_class=recipe.budget.per_class,
        subset=None if recipe.subset == Subset() else recipe.subset,
    )


def _with_classifier(head: HeadSpec | None, classifier: ComponentSpec | None) -> HeadSpec | None:
    """A head with its class columns; naming those that it has anyway changes no identity."""
    if head is None or classifier is None or classifier.use == classifiers.DEFAULT:
        return head
    return attrs.evolve(head, classifier=classifier)


def read_init(row: Row) -> InitSpec | None:
    """The earlier stages that the student's stage starts from; None where there are none."""
    init = recipe_of(row).init
    if init is None:
        return None
    component = attrs.asdict(init, recurse=False)
    del component["rows"]  # the stages stand for them: names are no part of an identity
    return InitSpec(stages=row.sources, **component)


def named_teachers(row: Row) -> tuple[TeacherSpec, ...]:
    """The teachers that the row names, beside that of its scheme."""
    named = zip(recipe_of(row).teachers, row.taught_by, strict=True)
    return tuple(
        TeacherSpec(
            stage=stage,
            name=teacher.name,
            domains=teacher.domains,
            adapter=teacher.adapter,
            reads=teacher.reads,
        )
        for teacher, stage in named
    )


def student_stage(
    row: Row,
    facts: tuple[DomainFacts, ...],
    *,
    teachers: tuple[TeacherSpec, ...] = (),
    own_teachers: bool = False,
    published: bool = False,
) -> StageSpec:
    """The stage that trains the student head: with teachers, or alone.

    Args:
        row: the row that wants it.
        facts: what is known of the row's domains.
        teachers: earlier stages that it learns from, frozen.
        own_teachers: whether it trains teacher heads of its own.
        published: whether it trains as the official baselines do, with the projection in the
            backbone's group.
    """
    recipe = recipe_of(row)
    losses = tuple(loss for loss in recipe.losses if own_teachers or loss.on != "teacher")
    distilled = own_teachers or bool(teachers)
    return StageSpec(
        domains=tuple(domain.name for domain in facts),
        backbone=row.backbone,
        transform=read_transform(row.transform, trains=True),
        precision=row.precision,
        student_head=_with_classifier(row.student_head, recipe_of(row).student_classifier),
        teacher_head=_with_classifier(recipe.teacher_head, recipe.teacher_classifier)
        if own_teachers
        else None,
        classifier=recipe.classifier,
        teachers=(*teachers, *named_teachers(row)),
        training=_training(
            row,
            student_steps(row, facts, published=published),
            losses,
            recipe.sampler,
            distill_to_backbone=recipe.distill_to_backbone if distilled else True,
            published=published,
        ),
        seed=row.seed,
        init=read_init(row),
    )


def specialist_stage(row: Row, domain: str, steps: int, *, published: bool = False) -> StageSpec:
    """A stage that trains the student head on one domain alone, by classification."""
    return StageSpec(
        domains=(domain,),
        backbone=row.backbone,
        transform=read_transform(row.transform, trains=True),
        precision=row.precision,
        student_head=_with_classifier(row.student_head, recipe_of(row).student_classifier),
        training=_training(row, steps, recipe_of(row).losses, _round_robin(), published=published),
        seed=row.seed,
    )


def teacher_stage(row: Row, domains: tuple[str, ...], steps: int) -> StageSpec:
    """A stage that trains the teacher heads of `domains` beforehand.

    It does so by the losses on the teacher, round robin.
    """
    recipe = recipe_of(row)
    losses = tuple(loss for loss in recipe.losses if loss.on == "teacher")
    return StageSpec(
        domains=domains,
        backbone=row.backbone,
        transform=read_transform(row.transform, trains=True),
        precision=row.precision,
        teacher_head=_with_classifier(recipe.teacher_head, recipe.teacher_classifier),
        training=_training(row, steps, losses, _round_robin()),
        seed=row.seed,
    )

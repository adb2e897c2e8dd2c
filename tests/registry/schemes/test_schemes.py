"""The schemes: which stages and evaluations a row becomes."""

from __future__ import annotations

import attrs
import pytest

from registry import schemes
from registry.contracts import (
    Average,
    BackboneSpec,
    Budget,
    ComponentSpec,
    DomainFacts,
    HeadSpec,
    LossSpec,
    Optimiser,
    Recipe,
    Row,
    Schedule,
    Transform,
    Validation,
)

FACTS = tuple(
    DomainFacts(name=name, train_images=count, train_classes=5)
    for name, count in (("cars", 30), ("food", 20), ("sop", 25))
)
CLASSIFICATION = (
    LossSpec(name="teacher_ce", use="ce", on="teacher"),
    LossSpec(name="student_ce", use="ce", on="student"),
)
DISTILLATION = (
    LossSpec(name="kl_logit", use="kl_logit"),
    LossSpec(name="relational", use="relational"),
)


RECIPE = {field.name for field in attrs.fields(Recipe)}


def row(**changes) -> Row:
    """A row of 10 steps with UDON's four losses, on three domains."""
    parts = {
        "name": "row",
        "scheme": ComponentSpec(use="any"),
        "backbone": BackboneSpec(
            use="timm",
            options={"model": "resnet10t"},
            weights="random",
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
        ),
        "transform": Transform(resize=36, crop=32),
        "precision": "fp32",
        "seed": 7,
        "student_head": HeadSpec(use="linear", dim=4),
    }
    recipe = {
        "teacher_head": HeadSpec(use="linear", dim=8),
        "losses": (*CLASSIFICATION, *DISTILLATION),
        "sampler": ComponentSpec(use="dynamic", options={"interval": "20%"}),
        "optimiser": Optimiser(frozen="20%"),
        "schedule": Schedule(),
        "budget": Budget(steps=10, batch=8),
        "validation": Validation(every="50%"),
    }
    for key, value in changes.items():
        (recipe if key in RECIPE else parts)[key] = value
    return Row(recipe=Recipe(**recipe), **parts)


def plan(name: str, planned: Row, **options):
    """What a scheme makes of a row."""
    return schemes.get(name)(**options).plan(planned, FACTS)


def names(stage) -> list[str]:
    """The losses of a stage."""
    return [loss.name for loss in stage.training.losses]


def test_classification_is_one_student_stage():
    """The baseline trains one student on all domains with the losses on the student, and evaluates
    it on a merged index.
    """
    (evaluation,) = plan("classification", row(losses=CLASSIFICATION[1:]))
    stage = evaluation.embedders["cars"]
    assert all(other is stage for other in evaluation.embedders.values())
    assert (
        list(evaluation.embedders) == ["cars", "food", "sop"]
        and evaluation.merged
        and evaluation.branch == "student"
    )
    assert (stage.teachers, stage.teacher_head, stage.training.steps, names(stage)) == (
        (),
        None,
        10,
        ["student_ce"],
    )
    assert (stage.training.optimiser.frozen, stage.training.validate_every) == (2, 5)


def test_a_published_baseline_trains_its_projection_with_the_backbone():
    """`published` fixes seven of ten epochs, frozen for two, validated after each, and puts the
    projection into the backbone's group.
    """
    published = schemes.get("classification")(published=True)
    assert published.fixed_row == {"optimiser": {"frozen": "2/7"}, "validation": {"every": "1/7"}}
    assert schemes.get("classification")().fixed_row == {}
    (evaluation,) = published.plan(row(losses=CLASSIFICATION[1:]), FACTS)
    (fair,) = plan("classification", row(losses=CLASSIFICATION[1:]))
    ours, theirs = evaluation.embedders["cars"], fair.embedders["cars"]
    assert (ours.training.student_head_group, theirs.training.student_head_group) == (
        "backbone",
        None,
    )
    assert (ours.training.steps, theirs.training.steps) == (7, 10)
    assert attrs.evolve(ours, training=None) == attrs.evolve(theirs, training=None)
    (half,) = published.plan(
        row(losses=CLASSIFICATION[1:], budget=Budget(steps=20, scale=0.5, batch=8)), FACTS
    )
    # a row's own scale and the seven tenths multiply
    assert half.embedders["cars"].training.steps == 7


@pytest.mark.parametrize(
    ("budget", "steps"), [("equal_exposure", [4, 3, 3]), ("full", [10, 10, 10])]
)
def test_specialists_are_one_student_per_domain(budget, steps):
    """Each specialist trains its own domain alone; the evaluation has no merged index, since each
    domain has an embedding of its own.
    """
    (evaluation,) = plan(
        "specialists", row(losses=CLASSIFICATION[1:], teacher_budget=budget, sampler=None)
    )
    assert not evaluation.merged and evaluation.branch == "student"
    stages = list(evaluation.embedders.values())
    assert [stage.domains for stage in stages] == [("cars",), ("food",), ("sop",)]
    assert [stage.training.steps for stage in stages] == steps
    assert all(
        names(stage) == ["student_ce"]
        and stage.student_head.dim == 4
        and stage.teacher_head is None
        for stage in stages
    )
    assert all(stage.training.student_head_group is None for stage in stages)
    (published,) = plan("specialists", row(losses=CLASSIFICATION[1:], sampler=None), published=True)
    assert all(
        stage.training.student_head_group == "backbone" for stage in published.embedders.values()
    )
    assert [stage.training.steps for stage in published.embedders.values()] == [3, 2, 2]


def test_udon_is_one_stage_that_holds_teachers_and_student():
    """UDON trains all four losses in one stage, with teacher heads of its own and the row's
    sampler.
    """
    (evaluation,) = plan("udon", row())
    stage = evaluation.embedders["cars"]
    assert all(other is stage for other in evaluation.embedders.values())
    assert names(stage) == ["teacher_ce", "student_ce", "kl_logit", "relational"]
    assert (
        stage.teacher_head.dim == 8
        and stage.teachers == ()
        and stage.training.sampler.use == "dynamic"
    )


def test_udon_evaluates_students_and_teachers_of_the_same_stage():
    """`evaluate` gives one evaluation per branch, in its order, over the same stage; the teacher's
    index is not merged.
    """
    teacher, student = plan("udon", row(evaluate=("teacher", "student")))
    assert (teacher.branch, student.branch) == ("teacher", "student")
    assert teacher.embedders == student.embedders
    assert student.merged and not teacher.merged


@pytest.mark.parametrize(
    ("budget", "steps"), [("equal_exposure", [4, 3, 3]), ("full", [10, 10, 10])]
)
def test_separate_teachers_are_one_stage_per_domain_and_a_student(budget, steps):
    """Each domain's teacher takes what round robin gives the domain in the student's budget, or all
    of it under `full`.
    """
    (evaluation,) = plan("separate_teachers", row(teacher_budget=budget))
    student = evaluation.embedders["food"]
    teachers = [teacher.stage for teacher in student.teachers]
    assert [teacher.domains for teacher in teachers] == [("cars",), ("food",), ("sop",)]
    assert [teacher.training.steps for teacher in teachers] == steps
    assert all(
        names(teacher) == ["teacher_ce"] and teacher.student_head is None for teacher in teachers
    )
    assert all(teacher.training.sampler == ComponentSpec(use="round_robin") for teacher in teachers)
    assert (student.training.steps, names(student), student.teacher_head) == (
        10,
        ["student_ce", "kl_logit", "relational"],
        None,
    )
    assert student.teachers[2].taught_domains == ("sop",)


def test_evaluated_teachers_need_no_student():
    """`evaluate = ["teacher"]` of separate teachers reaches the teachers' stages alone."""
    (evaluation,) = plan("separate_teachers", row(evaluate=("teacher",)))
    assert {name: stage.domains for name, stage in evaluation.embedders.items()} == {
        name: (name,) for name in ("cars", "food", "sop")
    }
    assert all(
        stage.student_head is None and stage.teachers == ()
        for stage in evaluation.embedders.values()
    )
    assert not evaluation.merged


def test_a_teacher_with_all_heads_takes_the_students_budget():
    """The multi-head teacher is one stage over all domains with the student's steps; the student
    learns from it alone.
    """
    (evaluation,) = plan("multi_head_teacher", row())
    student = evaluation.embedders["cars"]
    teacher = student.teachers[0].stage
    assert len(student.teachers) == 1
    assert (teacher.domains, teacher.training.steps, names(teacher)) == (
        ("cars", "food", "sop"),
        10,
        ["teacher_ce"],
    )
    assert names(student) == ["student_ce", "kl_logit", "relational"]


def test_off_the_shelf_is_a_stage_of_no_steps_and_no_seed():
    """Features as they are need no training; reduced by a fitted head they are the student's
    embedding.
    """
    (raw,) = plan("off_the_shelf", row(student_head=None))
    assert raw.branch == "feature" and raw.merged
    assert (raw.embedders["cars"].training, raw.embedders["cars"].seed) == (None, None)
    for use in ("pca", "lda"):
        head = HeadSpec(use=use, dim=4)
        (reduced,) = plan("off_the_shelf", row(student_head=head), reduce=use)
        assert reduced.branch == "student" and reduced.embedders["cars"].student_head.use == use


def test_equal_stages_are_equal_whatever_row_they_come_from():
    """The row's name and what a stage does not use change nothing: two rows share their teachers,
    and their student where it is equal.
    """
    (first,) = plan("separate_teachers", row())
    (second,) = plan("separate_teachers", row(name="other", sampler=ComponentSpec(use="uniform")))
    assert first.embedders["cars"].teachers == second.embedders["cars"].teachers
    assert first.embedders["cars"] != second.embedders["cars"]
    assert plan("separate_teachers", row(name="other")) == (first,)


def test_epochs_and_scale_give_the_budget():
    """An epoch is floor(training images / batch) steps; a row's scale multiplies it."""
    (evaluation,) = plan(
        "classification",
        row(losses=CLASSIFICATION[1:], budget=Budget(epochs=3, batch=8, scale=0.5)),
    )
    # floor(75 / 8) = 9 steps, 3 epochs, half of them: 13.5
    assert evaluation.embedders["cars"].training.steps == 14


def test_a_warm_up_is_a_share_of_each_stages_own_budget():
    """Cadences are resolved against the stage's own steps, not the student's."""
    (evaluation,) = plan("separate_teachers", row(schedule=Schedule(warm_up="50%")))
    student = evaluation.embedders["cars"]
    assert student.training.schedule == Schedule(warm_up=5)
    assert [teacher.stage.training.schedule.warm_up for teacher in student.teachers] == [2, 2, 2]


def test_adamw_is_no_part_of_a_stage():
    """The default rule is left out, so that naming it changes no id; another is kept."""
    assert plan("udon", row(update=ComponentSpec(use="adamw"))) == plan("udon", row())
    (evaluation,) = plan("udon", row(update=ComponentSpec(use="sgd")))
    assert evaluation.embedders["cars"].training.update == ComponentSpec(use="sgd")


def test_an_average_starts_at_a_share_of_each_stages_own_budget():
    """`average.start` is resolved against the stage's own steps; what its mean does not read is at
    its default; `none` is no part of a stage.
    """
    average = Average(use="tail", decay=0.5, start="50%")
    (evaluation,) = plan("separate_teachers", row(average=average))
    student = evaluation.embedders["cars"]
    assert student.training.average == Average(use="tail", start=5)
    assert [teacher.stage.training.average.start for teacher in student.teachers] == [2, 2, 2]
    assert plan("udon", row(average=Average(use="none", decay=0.5))) == plan("udon", row())


def test_a_ramp_is_a_share_of_each_stages_own_budget():
    """`ramp` of a loss is resolved against the stage's own steps; one of no steps is none."""
    ramped = tuple(attrs.evolve(loss, ramp="50%") for loss in row().recipe.losses)
    (evaluation,) = plan("separate_teachers", row(losses=ramped))
    student = evaluation.embedders["cars"]
    assert {loss.ramp for loss in student.training.losses} == {5}
    for teacher in student.teachers:
        assert [loss.ramp for loss in teacher.stage.training.losses] == [2]
    for none in (0, "1%"):
        losses = tuple(attrs.evolve(loss, ramp=none) for loss in ramped)
        assert plan("udon", row(losses=losses)) == plan("udon", row())


def test_a_stage_without_a_teacher_ignores_how_distillation_reaches_the_backbone():
    """`distill_to_backbone` is no part of the baseline's stage nor of a teacher's."""
    (with_it,) = plan("classification", row(losses=CLASSIFICATION[1:]))
    (without,) = plan("classification", row(losses=CLASSIFICATION[1:], distill_to_backbone=False))
    assert with_it == without
    (udon,) = plan("udon", row(distill_to_backbone=False))
    assert attrs.asdict(udon.embedders["cars"].training)["distill_to_backbone"] is False


def test_an_option_that_a_sampler_does_not_read_is_no_part_of_its_stage():
    """`log_interval` counts with the window `since_log` alone; else it stands at its default, as in
    the stages of old.
    """

    def options(**changes):
        given = {
            "interval": 2,
            "signal": "teacher_ce",
            "window": "since_update",
            "log_interval": "10%",
            **changes,
        }
        (evaluation,) = plan("udon", row(sampler=ComponentSpec(use="dynamic", options=given)))
        return evaluation.embedders["cars"].training.sampler.options

    assert options(log_interval=7) == options() == options(log_interval="1%")
    assert options(window="since_log", log_interval=7)["log_interval"] == 7

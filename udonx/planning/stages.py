"""A stage and the earlier ones that it needs: order, title, and a teacher for each domain."""

from __future__ import annotations

from collections.abc import Iterator

from registry.contracts import StageSpec, TeacherSpec
from udonx.data.benchmark import Benchmark


def with_earlier(stage: StageSpec) -> Iterator[StageSpec]:
    """A stage after all earlier stages that it learns from or starts from."""
    for earlier in stage.earlier:
        yield from with_earlier(earlier)
    yield stage


def training_data(spec: StageSpec, benchmark: Benchmark) -> Benchmark:
    """The benchmark with those training images and labels that a stage sees.

    A head that is fitted to a stage's features sees what that stage was trained on.
    """
    seen = spec
    while seen.training is None and seen.init is not None:
        seen = seen.init.stages[0]
    if seen.training is None:
        return benchmark
    return benchmark.subset(seen.training.subset, seen.seed or 0)


def learned_domains(stage: StageSpec) -> frozenset[str] | None:
    """The domains that a stage, or an earlier one behind it, has learned from.

    It is None of a backbone off the shelf, to which no domain is less known than another.
    """
    learned = [each for each in with_earlier(stage) if _learns(each)]
    if not learned:
        return None
    return frozenset(domain for each in learned for domain in each.domains)


def _learns(stage: StageSpec) -> bool:
    """Whether images of a stage's domains have shaped it: features off the shelf know none."""
    return stage.training is not None or stage.student_head is not None


def stage_title(spec: StageSpec) -> str:
    """What a stage is, in a few words."""
    if spec.training is None and spec.init is not None:
        return f"student, {spec.init.use}"
    if spec.training is None:
        head = spec.student_head
        return "features" if head is None else f"features, {head.use.upper()}"
    if spec.student_head is None:
        return (
            f"teacher of {spec.domains[0]}"
            if len(spec.domains) == 1
            else f"teacher with {len(spec.domains)} heads"
        )
    if len(spec.domains) == 1 and not spec.teacher_head and not spec.teachers:
        return f"student of {spec.domains[0]}"
    return "student" if not spec.teacher_head else "student and teachers"


def teacher_problems(stage: StageSpec) -> Iterator[str]:
    """What is wrong with a stage's teachers, for a sentence that begins "... plans 'TITLE' ".

    A stage with teachers learns on every domain from exactly one of them, which was trained on it.
    """
    for teacher in stage.teachers:
        yield from _own_problems(stage, teacher)
    for domain in stage.domains if any(each.name is None for each in stage.teachers) else ():
        yield from _domain_problems(stage, domain)


def _own_problems(stage: StageSpec, teacher: TeacherSpec) -> Iterator[str]:
    title = stage_title(teacher.stage)
    asked = {loss.teacher for loss in stage.training.losses} if stage.training else set()
    if teacher.name is not None and not asked & {teacher.name, "*"}:
        yield (
            f"with a teacher named '{teacher.name}' ({title}), which no loss asks for; allowed are"
            " teachers without a name, or a loss with `teacher`"
        )
    if teacher.name is not None:  # what it makes of any domain's images can be learned from
        return
    for domain in sorted({*teacher.taught_domains} - {*teacher.stage.domains}):
        yield (
            f"with a teacher of domain '{domain}' ({title}) that was not trained on it; allowed in"
            f" its TeacherSpec.domains are {', '.join(teacher.stage.domains)}"
        )


def _domain_problems(stage: StageSpec, domain: str) -> Iterator[str]:
    unnamed = [teacher for teacher in stage.teachers if teacher.name is None]
    titles = [stage_title(one.stage) for one in unnamed if domain in one.taught_domains]
    if not titles:
        others = ", ".join(stage_title(teacher.stage) for teacher in stage.teachers)
        yield (
            f"without a teacher of domain '{domain}' (its teachers: {others}); allowed is exactly"
            " one for each domain: add one"
        )
    elif len(titles) > 1:
        yield (
            f"with {len(titles)} teachers of domain '{domain}' ({', '.join(titles)}); allowed is"
            " exactly one for each domain: leave one out, or limit its TeacherSpec.domains"
        )

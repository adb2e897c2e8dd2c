"""One teacher model with a head per domain, trained first; the student learns from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry import schemes
from registry.contracts import DomainFacts, EvaluationSpec, Row, TeacherSpec
from registry.schemes.recipes import (
    DISTILLATION_ROW,
    TEACHER_SLOTS,
    student_stage,
    student_steps,
    teacher_stage,
)


@schemes.register("multi_head_teacher")
class MultiHeadTeacher:
    """One teacher model with a head per domain, trained beforehand, then one student.

    The heads share a backbone. The teacher is frozen when the student learns from it.
    """

    slots = TEACHER_SLOTS
    default_row = DISTILLATION_ROW
    fixed_row: Mapping[str, Any] = {}
    teacher = "beforehand"
    branches = ("student", "teacher")

    def plan(self, row: Row, facts: tuple[DomainFacts, ...]) -> tuple[EvaluationSpec, ...]:
        """A teacher stage of the student's own budget, and a student stage that learns from it.

        The second is needed where the student is evaluated.
        """
        teacher = teacher_stage(
            row, tuple(domain.name for domain in facts), student_steps(row, facts)
        )
        evaluations = []
        for branch in row.evaluate:
            stage = (
                teacher
                if branch == "teacher"
                else student_stage(row, facts, teachers=(TeacherSpec(stage=teacher),))
            )
            evaluations.append(
                EvaluationSpec(branch=branch, embedders={domain.name: stage for domain in facts})
            )
        return tuple(evaluations)

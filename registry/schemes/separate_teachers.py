"""Separate teachers: one specialised model per domain, trained first.

The student learns from all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry import schemes
from registry.contracts import DomainFacts, EvaluationSpec, Row, TeacherSpec
from registry.schemes.recipes import (
    DISTILLATION_ROW,
    TEACHER_SLOTS,
    steps_per_domain,
    student_stage,
    teacher_stage,
)


@schemes.register("separate_teachers")
class SeparateTeachers:
    """One teacher model per domain, trained beforehand, then one student that learns from them.

    The teachers are frozen by then.
    """

    slots = TEACHER_SLOTS | {"teacher_budget"}
    default_row = DISTILLATION_ROW
    fixed_row: Mapping[str, Any] = {}
    teacher = "beforehand"
    branches = ("student", "teacher")

    def plan(self, row: Row, facts: tuple[DomainFacts, ...]) -> tuple[EvaluationSpec, ...]:
        """As many teacher stages as domains, and a student stage if the student is evaluated.

        Under `equal_exposure` a domain's teacher takes the steps that round robin gives the domain
        within the student's budget.
        """
        budgets = zip(facts, steps_per_domain(row, facts), strict=True)
        teachers = {
            domain.name: teacher_stage(row, (domain.name,), steps) for domain, steps in budgets
        }
        evaluations = []
        for branch in row.evaluate:
            if branch == "teacher":
                evaluations.append(EvaluationSpec(branch="teacher", embedders=teachers))
            else:
                frozen = tuple(TeacherSpec(stage=stage) for stage in teachers.values())
                student = student_stage(row, facts, teachers=frozen)
                evaluations.append(
                    EvaluationSpec(
                        branch="student", embedders={domain.name: student for domain in facts}
                    )
                )
        return tuple(evaluations)

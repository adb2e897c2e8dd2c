"""UDON: the teachers are heads on the student's own backbone, trained together with it.

Source: UDON, NeurIPS 2024; docs/method.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry import schemes
from registry.contracts import DomainFacts, EvaluationSpec, Row
from registry.schemes.recipes import DISTILLATION_ROW, TEACHER_SLOTS, student_stage


@schemes.register("udon")
class Udon:
    """On one backbone, together: a teacher head per domain and a student that learns from them.

    All are trained in one stage.
    """

    slots = TEACHER_SLOTS
    default_row = DISTILLATION_ROW
    fixed_row: Mapping[str, Any] = {}
    teacher = "together"
    branches = ("student", "teacher")

    def plan(self, row: Row, facts: tuple[DomainFacts, ...]) -> tuple[EvaluationSpec, ...]:
        """One stage; its student, its teachers, or both are evaluated."""
        stage = student_stage(row, facts, own_teachers=True)
        return tuple(
            EvaluationSpec(branch=branch, embedders={domain.name: stage for domain in facts})
            for branch in row.evaluate
        )

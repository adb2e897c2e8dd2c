"""Classification alone: the baseline that every distillation is compared with."""

from __future__ import annotations

from registry import schemes
from registry.contracts import DomainFacts, EvaluationSpec, Row
from registry.schemes.stages import TRAINING_SLOTS, student_stage


@schemes.register("classification")
class Classification:
    """One student trained by classification on all domains, without a teacher: the baseline."""

    slots = TRAINING_SLOTS
    default_row = {"losses": {"student_ce": {"use": "ce", "on": "student"}}}
    fixed_row = {}
    teacher = "none"
    branches = ("student",)

    def plan(self, row: Row, facts: tuple[DomainFacts, ...]) -> tuple[EvaluationSpec, ...]:
        """One stage, one evaluation."""
        stage = student_stage(row, facts)
        return (EvaluationSpec(branch="student", embedders={domain.name: stage for domain in facts}),)

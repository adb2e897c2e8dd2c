"""Classification alone: the baseline that every distillation is compared with."""

from __future__ import annotations

from registry import schemes
from registry.contracts import DomainFacts, EvaluationSpec, Row
from registry.schemes.stages import CLASSIFICATION_ROW, PUBLISHED_ROW, TRAINING_SLOTS, student_stage


@schemes.register("classification")
class Classification:
    """One student trained by classification on all domains, without a teacher: the baseline.

    Options:
    * published: train as the released baselines UJCDS, UJCRR, USCDS and USCRR do: the student's projection stays in the backbone's
      group (random, frozen, then at the backbone's rate), for 7/10 of the budget, frozen for 2/7 of that. Off, the projection
      trains with the heads for the whole budget: the fair comparison.

    Source: method.md, 6 (the official UnED code).
    """

    slots = TRAINING_SLOTS
    default_row = CLASSIFICATION_ROW
    teacher = "none"
    branches = ("student",)

    def __init__(self, *, published: bool = False) -> None:
        self.published = published
        self.fixed_row = PUBLISHED_ROW if published else {}

    def plan(self, row: Row, facts: tuple[DomainFacts, ...]) -> tuple[EvaluationSpec, ...]:
        """One stage, one evaluation."""
        stage = student_stage(row, facts, published=self.published)
        return (EvaluationSpec(branch="student", embedders={domain.name: stage for domain in facts}),)

"""Classification alone: the baseline that every distillation is compared with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from registry import schemes
from registry.contracts import DomainFacts, EvaluationSpec, Row
from registry.schemes.recipes import (
    CLASSIFICATION_ROW,
    PUBLISHED_ROW,
    TRAINING_SLOTS,
    student_stage,
)

Published = Annotated[
    bool,
    Field(
        description=(
            "Trains as the released baselines UJCDS, UJCRR, USCDS and USCRR do: the projection is"
            " in the backbone's group (random, frozen, then at the backbone's rate), for 7/10 of"
            " the budget, frozen for 2/7 of that. Otherwise the projection trains with the heads"
            " for the whole budget: the fair comparison."
        )
    ),
]


@schemes.register("classification")
class Classification:
    """One student trained by classification on all domains, without a teacher: the baseline.

    Source: the released code of UnED (Towards Universal Image Embeddings, ICCV 2023).
    """

    slots = TRAINING_SLOTS
    default_row = CLASSIFICATION_ROW
    teacher = "none"
    branches = ("student",)

    def __init__(self, *, published: Published = False) -> None:
        self.published = published
        self.fixed_row = PUBLISHED_ROW if published else {}

    def plan(self, row: Row, facts: tuple[DomainFacts, ...]) -> tuple[EvaluationSpec, ...]:
        """One stage, one evaluation."""
        stage = student_stage(row, facts, published=self.published)
        return (
            EvaluationSpec(branch="student", embedders={domain.name: stage for domain in facts}),
        )

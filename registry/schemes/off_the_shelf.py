"""The start weights as they are: the reference that training has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from registry import schemes
from registry.contracts import DomainFacts, EvaluationSpec, Row, StageSpec
from registry.schemes.recipes import read_transform


@schemes.register("off_the_shelf")
class OffTheShelf:
    """The backbone's own features, untrained: at full dimension, or by a fitted head.

    That is fitted on the training images, to `student_head.dim`. Images come as they are stored,
    whatever `transform.orientation` says.
    """

    default_row: Mapping[str, Any] = {}
    teacher = "none"
    branches = ("student",)

    def __init__(
        self,
        *,
        reduce: Annotated[
            Literal["none", "pca", "lda"],
            Field(
                description=(
                    "`pca` and `lda` reduce the features to `student_head.dim`, fitted on the"
                    " training images; `lda` knows their classes."
                )
            ),
        ] = "none",
    ) -> None:
        self.reduce = reduce
        self.slots = frozenset({"student_head", "domains"} if reduce != "none" else ())
        self.fixed_row = {"student_head": {"use": reduce}} if reduce != "none" else {}

    def plan(self, row: Row, facts: tuple[DomainFacts, ...]) -> tuple[EvaluationSpec, ...]:
        """One stage of no steps, without a seed: nothing in it is random."""
        stage = StageSpec(
            domains=tuple(domain.name for domain in facts),
            backbone=row.backbone,
            transform=read_transform(row.transform, trains=False),
            precision=row.precision,
            student_head=row.student_head,
        )
        return (
            EvaluationSpec(
                branch="student" if row.student_head else "feature",
                embedders={domain.name: stage for domain in facts},
            ),
        )

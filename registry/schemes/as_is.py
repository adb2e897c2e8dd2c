"""The weights that `init` gives, as they are: a mean of rows, or a trained row with a new head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from registry import schemes
from registry.contracts import DomainFacts, EvaluationSpec, Row, StageSpec
from registry.schemes.recipes import read_init, read_transform


@schemes.register("as_is")
class AsIs:
    """The student that `init` makes of other rows, without any training of its own.

    It has a backbone and a student head, and no class columns. A head that is fitted (`pca`, `lda`)
    takes the place of the head that was trained: it is fitted on the features of the backbone that
    `init` gives.
    """

    slots = frozenset({"student_head", "init"})
    default_row: Mapping[str, Any] = {}
    fixed_row: Mapping[str, Any] = {}
    teacher = "none"
    branches = ("student",)

    def plan(self, row: Row, facts: tuple[DomainFacts, ...]) -> tuple[EvaluationSpec, ...]:
        """One stage of no steps, without a seed: what is random in it lies in its sources."""
        transform = attrs.evolve(
            read_transform(row.transform, trains=False), orientation=row.transform.orientation
        )
        learned = {domain for source in row.sources for domain in source.domains}
        stage = StageSpec(
            domains=tuple(domain.name for domain in facts if domain.name in learned),
            backbone=row.backbone,
            transform=transform,
            precision=row.precision,
            student_head=row.student_head,
            init=read_init(row),
        )
        return (
            EvaluationSpec(branch="student", embedders={domain.name: stage for domain in facts}),
        )

"""Specialists: one model per domain, each used for its own domain alone.

That is the upper bound "Specialist + Oracle".
"""

from __future__ import annotations

from registry import schemes
from registry.contracts import DomainFacts, EvaluationSpec, Row
from registry.schemes.classification import Classification
from registry.schemes.recipes import TRAINING_SLOTS, specialist_stage, steps_per_domain


@schemes.register("specialists")
class Specialists(Classification):
    """One classification model per domain, for that domain alone: no universal embedding.

    A query is embedded by the specialist of its own domain and searched in that domain only, as if
    an oracle named the domain: an upper bound.

    Source: "Specialist + Oracle" of UnED (Towards Universal Image Embeddings, ICCV 2023). How long
    its specialists train is not known to us: `teacher_budget` says it.
    """

    slots = (TRAINING_SLOTS - {"sampler", "classifier", "domains", "init", "teachers"}) | {
        "teacher_budget"
    }

    def plan(self, row: Row, facts: tuple[DomainFacts, ...]) -> tuple[EvaluationSpec, ...]:
        """As many stages as domains, one evaluation without a merged index."""
        budgets = zip(facts, steps_per_domain(row, facts, published=self.published), strict=True)
        stages = {
            domain.name: specialist_stage(row, domain.name, steps, published=self.published)
            for domain, steps in budgets
        }
        return (EvaluationSpec(branch="student", embedders=stages),)

"""The earlier stages that teach a stage, frozen: what they make of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import torch

from registry.contracts import Batch, Branch, StageSpec
from udonx.engine.load import load_stage
from udonx.engine.model import Model
from udonx.store.stage import StageFolder


@attrs.frozen(kw_only=True)
class NamedTeacher:
    """A teacher that losses ask for by name.

    Attributes:
        model: the teacher, frozen.
        domains: those that it teaches.
        dim: the length of its embedding.
    """

    model: Model
    domains: frozenset[str]
    dim: int

    def branch(self, batch: Batch) -> Branch:
        """What it makes of a batch: its student's branch, or the features of one without."""
        return self.model.answer_of(batch)


class Teachers:
    """All earlier teachers of a stage.

    Args:
        spec: the stage that is taught.
        folders: the finished stages of `spec.teachers`, in their order.
        device: where it trains.

    Attributes:
        own: the scheme's teacher of each domain; empty where there is none.
        named: the others, by name.
    """

    def __init__(
        self, spec: StageSpec, folders: Sequence[StageFolder], device: torch.device
    ) -> None:
        self.own: dict[str, Model] = {}
        self.named: dict[str, NamedTeacher] = {}
        for teacher, folder in zip(spec.teachers, folders, strict=True):
            model = load_stage(folder, device)
            if teacher.name is None:
                self.own |= dict.fromkeys(teacher.taught_domains, model)
            else:
                head = teacher.stage.student_head
                self.named[teacher.name] = NamedTeacher(
                    model=model,
                    domains=frozenset(teacher.domains or spec.domains),
                    dim=head.dim if head else model.backbone.dim,
                )

    @property
    def dims(self) -> Mapping[str, int]:
        """The lengths of the named teachers' embeddings."""
        return {name: teacher.dim for name, teacher in self.named.items()}

    @torch.no_grad()
    def teach(self, batch: Batch) -> tuple[Branch | None, dict[str, Branch]]:
        """What the scheme's teacher and the named ones of its domain make of a batch."""
        model = self.own.get(batch.domain)
        own = None if model is None else model.teaching_branch(batch)
        named = {
            name: teacher.branch(batch)
            for name, teacher in self.named.items()
            if batch.domain in teacher.domains
        }
        return own, named

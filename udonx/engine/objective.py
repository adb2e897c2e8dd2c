"""What is minimised: the weighted mean of a stage's losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from registry.contracts import Batch, Branch, LossSpec, StageSpec
from registry.registry import location
from udonx.data.benchmark import Benchmark
from udonx.engine.answers import answers
from udonx.engine.build import build_losses
from udonx.engine.errors import TrainingError, explained
from udonx.engine.model import Model


def class_counts(benchmark: Benchmark, domains: Sequence[str]) -> dict[str, Tensor]:
    """Training images of each class of each domain, int64 [C] on the CPU."""
    return {domain: torch.from_numpy(benchmark.class_counts(domain)) for domain in domains}


@attrs.frozen(kw_only=True, eq=False)
class BatchLosses:
    """The losses of a batch, float32 scalars.

    Attributes:
        values: every loss by name, detached and unweighted.
        total: the weighted sum of all, with a gradient.
        task: those on one branch, weighted, with gradients.
        distill: those between student and teacher, weighted, with gradients.
    """

    values: dict[str, Tensor]
    total: Tensor
    task: tuple[Tensor, ...]
    distill: tuple[Tensor, ...]


class Objective(nn.Module):
    """The total loss of a batch: the mean of the stage's losses by their weights.

    Losses that are modules are its children: it has their parameters and buffers.

    Args:
        spec: a stage that trains. Without its `normalise_total` the total is a sum. Without its
            `distill_to_backbone` the losses between student and teacher get a second pass of the
            student head, on detached features.
        class_counts: int64 [C] of each domain, training images of each class; what only a loss
            with a context needs.
        features_dim: the length of the student's features, of a stage with named teachers.
        teacher_dims: the lengths of the named teachers' embeddings, by name.

    Attributes:
        terms: the losses, by name.
        answers: how the student answers each named teacher, by name.
        specs: what they are, by name, in the order in which they are computed.
    """

    def __init__(
        self,
        spec: StageSpec,
        class_counts: Mapping[str, Tensor] = MappingProxyType({}),
        features_dim: int = 0,
        teacher_dims: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        training = spec.required_training
        self.terms = build_losses(spec, class_counts)
        # by position: a term may have a name that no child of a module can have
        self.stateful = nn.ModuleList(
            term for term in self.terms.values() if isinstance(term, nn.Module)
        )
        self.answers = answers(spec, features_dim, teacher_dims)
        self.adapters = nn.ModuleList(self.answers.values())
        self.specs = {loss.name: loss for loss in training.losses}
        weights = sum(loss.weight for loss in training.losses)
        self.divisor = weights if training.normalise_total else 1.0
        self.distill_to_backbone = training.distill_to_backbone

    def forward(
        self, model: Model, student: Branch | None, teacher: Branch | None, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total and every loss of a batch: `total` and `values` of `losses`."""
        losses = self.losses(model, student, teacher, batch)
        return losses.total, losses.values

    def losses(
        self,
        model: Model,
        student: Branch | None,
        teacher: Branch | None,
        batch: Batch,
        *,
        step: int | None = None,
        named: Mapping[str, Branch] = MappingProxyType({}),
    ) -> BatchLosses:
        """Every loss of a batch, and their total.

        Args:
            model: whose student head the second pass goes through.
            student: what the student makes of the batch; None where there is none.
            teacher: what its teacher makes of it; None where there is none.
            batch: images of one domain.
            step: how many steps are done, for the weights that grow; None for the full weights.
            named: what the named teachers of the batch's domain make of it, by name.
        """
        learner = student
        pair = [loss for loss in self.specs.values() if loss.on is None]
        if pair and student is not None and not self.distill_to_backbone:
            learner = model.student(student.features_BF.detach(), batch.domain)
        weighted: dict[str, Tensor] = {}
        values: dict[str, Tensor] = {}
        for name, loss in self.specs.items():
            if loss.teacher is not None:
                value = self._of_named(loss, learner, named, batch)
            elif loss.on is None:
                value = self.term(loss, learner, teacher, batch)
            else:
                value = self.term(loss, student if loss.on == "student" else teacher, batch)
            values[name] = value.detach()
            weight = loss.weight if step is None else loss.weight_at(step)
            weighted[name] = value * (weight / self.divisor)
        first, *others = weighted.values()
        return BatchLosses(
            values=values,
            total=sum(others, start=first),
            task=tuple(weighted[name] for name, loss in self.specs.items() if loss.on is not None),
            distill=tuple(weighted[loss.name] for loss in pair),
        )

    def _of_named(
        self, loss: LossSpec, learner: Branch | None, named: Mapping[str, Branch], batch: Batch
    ) -> Tensor:
        """The mean of a loss over the named teachers that it learns from.

        It is 0 where none of them teaches the batch's domain.
        """
        assert learner is not None, "a loss between student and teacher needs a student"
        values = [
            self.term(loss, self.answers[name](learner), branch, batch)
            for name, branch in named.items()
            if loss.teacher in (name, "*")
        ]
        return torch.stack(values).mean() if values else 0.0 * learner.embedding_BD.sum()

    def term(self, loss: LossSpec, *arguments: Any) -> Tensor:
        """One loss; `arguments` are its branch or its two branches, and the batch.

        One that reads labels sees the images that have one; it is 0 where none has.

        Raises:
            TrainingError: it fails or returns something else than a scalar or one value per image,
                with its name and line: losses are what people write most.
        """
        term = self.terms[loss.name]
        if arguments[-1].labelled is not None and _reads_labels(loss, term):
            *branches, batch = arguments
            if batch.count == 0:  # nothing to learn from, and no gradient
                return 0.0 * branches[0].embedding_BD.sum()
            arguments = (*(branch.rows(batch.labelled) for branch in branches), batch.of_labelled())
        with explained(f"loss '{loss.name}' ('{loss.use}')", type(term)):
            value = term(*arguments)
        images = len(arguments[-1].labels)
        if not (
            isinstance(value, Tensor)
            and list(value.shape) in ([], [images])
            and value.is_floating_point()
        ):
            got = (
                f"a tensor of shape {list(value.shape)} ({value.dtype})"
                if isinstance(value, Tensor)
                else type(value).__name__
            )
            raise TrainingError(
                f"loss '{loss.name}' ('{loss.use}', {location(type(term))}) returned {got}, allowed"
                f" is a float tensor, one scalar or one value per image, of shape [{images}]"
            )
        return value if value.ndim == 0 else value.mean()


def _reads_labels(loss: LossSpec, term: Any) -> bool:
    """Whether a loss is classification, or says that it reads labels."""
    return loss.on is not None or getattr(term, "reads_labels", False)

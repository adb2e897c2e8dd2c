"""A stage's heads, losses and sampler, called once on a few real images before anything trains.

What fails here would fail after hours.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from registry.contracts import Batch, Branch, LossSpec, Sampler, StageSpec
from registry.registry import location
from udonx.data.benchmark import Benchmark
from udonx.data.images import ImageStore
from udonx.data.loader import BatchLoader
from udonx.engine.answers import Answer
from udonx.engine.build import build_sampler
from udonx.engine.errors import TrainingError, explained
from udonx.engine.job import teacher_sizes
from udonx.engine.model import Model
from udonx.engine.objective import Objective
from udonx.engine.sampling import GuardedSampler, not_plain

_IMAGES = 8
_SEED = 0


def first_batch(benchmark: Benchmark, store: ImageStore, spec: StageSpec, domain: str) -> Batch:
    """The first few training images of a domain, as a stage loads them.

    Raises:
        DataError: too many cannot be read.
    """
    training = spec.required_training
    # images without a label would show nothing of the losses that read labels
    whole = (benchmark.train_labels(domain) >= 0).all()
    loader = BatchLoader(
        benchmark,
        store,
        (domain,),
        spec.transform,
        min(training.batch, _IMAGES),
        spec.seed or 0,
        workers=1,
        per_class=training.per_class or (None if whole else 1),
        sizes=teacher_sizes(spec),
    )
    return loader.load(domain, 0)


class Rehearsal:
    """What a model's backbone makes of a batch, for the losses of all stages with such a model.

    The backbone has no backward pass here, which takes long. Its features are leaves, one for the
    student and one for the teacher, so that it shows which side a loss trains.

    Args:
        model: an untrained model.
        batch: a few images of one domain.

    Raises:
        TrainingError: a head fails.
    """

    def __init__(self, model: Model, batch: Batch) -> None:
        self.model, self.batch = model, batch
        self.values: dict[str, float] = {}  # what the losses of the last stage gave, by name
        # what each different loss gave, or what is wrong with it
        self._known: dict[str, float | str] = {}
        with torch.no_grad():
            self._features_BF = model.eval().features(batch.images)
        model.train()
        self._sides()

    def _sides(self) -> dict[str, Branch]:
        """The student's and the teacher's branch, made anew for each loss.

        One that changes them must not be seen by the next.
        """
        sides: dict[str, Branch] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            for side in ("student", "teacher"):
                if getattr(self.model, f"{side}_classifiers") is not None:
                    with explained(f"the {side} head"):
                        sides[side] = getattr(self.model, side)(
                            self._features_BF.clone().requires_grad_(), self.batch.domain
                        )
        return sides

    def teaching(self) -> Branch:
        """What the model teaches as the frozen teacher of a later stage."""
        sides = self._sides()
        return _changed(sides.get("teacher") or sides["student"], Tensor.detach)

    def answering(self) -> Branch:
        """What the model teaches as a named teacher: its student, or its features."""
        with torch.no_grad():
            return self.model.eval().answer_of(self.batch)

    def problems(
        self,
        spec: StageSpec,
        frozen: Branch | None,
        class_counts: Mapping[str, Tensor] = MappingProxyType({}),
        named: Mapping[str, Branch] = MappingProxyType({}),
    ) -> Iterator[str]:
        """What is wrong with the losses of a stage, in one sentence each.

        Every different loss is called, and once more as in a run that continues.

        Args:
            spec: a stage with such a model.
            frozen: what its earlier teacher makes of the batch, if it has one.
            class_counts: int64 [C] of each domain, training images of each class of the model.
            named: what its named teachers make of the batch, by name.
        """
        dims = {name: branch.embedding_BD.shape[1] for name, branch in named.items()}
        features_dim = self._features_BF.shape[1]
        # a second one stands for a run that continues
        objective, again = (Objective(spec, class_counts, features_dim, dims) for _ in range(2))
        to_backbone, self.values = spec.required_training.distill_to_backbone, {}
        for loss in spec.required_training.losses:
            for name, teacher in _teachers_of(loss, frozen, named).items():
                dim = None if teacher is None else teacher.embedding_BD.shape[1]
                steps = spec.required_training.steps
                asked = attrs.evolve(loss, name="", weight=1.0, ramp=None, teacher=name)
                key = repr((asked, objective.answers.get(name or ""), to_backbone, dim, steps))
                if key not in self._known:
                    try:
                        self._known[key] = self._call(objective, loss, name, teacher, to_backbone)
                        self._continue(objective, again, loss, name, teacher)
                    except TrainingError as error:
                        self._known[key] = str(error)
                if isinstance(found := self._known[key], str):
                    yield found
                else:
                    self.values[loss.name] = found

    def _call(
        self,
        objective: Objective,
        loss: LossSpec,
        name: str | None,
        teacher: Branch | None,
        to_backbone: bool,
    ) -> float:
        """The value of a loss.

        Raises:
            TrainingError: it fails, is not finite, or does not train what it should.
        """
        answer = objective.answers.get(name or "")
        what, given, batch = _name_of(objective, loss), *self._given(loss, teacher, answer)
        before = _versions(given, batch)
        value = _value(objective, loss, given, batch)
        after = _versions(given, batch)
        if changed := [name for name, version in before.items() if after[name] != version]:
            raise TrainingError(
                f"{what} changes {', '.join(changed)} in place, which every other loss then sees;"
                " compute with a copy"
            )
        few = f"the first {len(batch.labels)} images of '{batch.domain}'"
        if not math.isfinite(value.item()):
            raise TrainingError(f"{what} gave {value.item()} for {few}, allowed is a finite number")
        trained = loss.on or "student"
        parameters = self._trained(trained, given[trained], to_backbone or loss.on is not None)
        term = objective.terms[loss.name]
        owned = term.parameters() if isinstance(term, nn.Module) else ()
        own = [parameter for parameter in owned if parameter.requires_grad]
        gradients: list[Tensor | None] = []
        if value.requires_grad:
            with explained(f"the backward pass of {what}"):
                gradients += torch.autograd.grad(value, [*parameters, *own], allow_unused=True)
        if all(gradient is None for gradient in gradients[: len(parameters)]):
            raise TrainingError(
                f"{what} has no gradient for the {trained}, so it would train nothing; look for"
                " detach(), no_grad() or argmax() in it"
            )
        # a loss on pairs that finds none in a few images gives a 0 that trains nothing
        if own and value.item() and all(g is None for g in gradients[len(parameters) :]):
            raise TrainingError(
                f"{what} has parameters, but no gradient for any of them; make them buffers, or"
                " look for detach(), no_grad() or argmax() in it"
            )
        if not all(gradient.isfinite().all() for gradient in gradients if gradient is not None):
            raise TrainingError(
                f"{what} has a gradient that is not finite for {few}; look for a root, a logarithm"
                " or a division at 0"
            )
        return value.item()

    def _continue(
        self,
        objective: Objective,
        again: Objective,
        loss: LossSpec,
        name: str | None,
        teacher: Branch | None,
    ) -> None:
        """Call a loss, and one that continues from its state.

        Raises:
            TrainingError: they give different values, or the state is not plain.
        """
        what, term = _name_of(objective, loss), objective.terms[loss.name]
        if isinstance(term, nn.Module):
            state = term.state_dict()
            if odd := next(not_plain(state, "state_dict()"), None):
                raise TrainingError(f"{what}: {odd}, which a checkpoint cannot hold")
            with explained(what):
                again.terms[loss.name].load_state_dict(state)
        answer = objective.answers.get(name or "")
        values = [
            _value(each, loss, *self._given(loss, teacher, answer)) for each in (objective, again)
        ]
        if not torch.equal(*values):
            raise TrainingError(
                f"{what} goes on otherwise after load_state_dict(state_dict()): a run that is"
                " stopped would change; keep what it remembers in buffers, and draw random numbers"
                " with torch"
            )

    def _given(
        self, loss: LossSpec, teacher: Branch | None, answer: Answer | None
    ) -> tuple[dict[str, Branch], Batch]:
        """Copies of what a loss is called with: its branches by side, and the batch."""
        sides = self._sides()
        if teacher is not None:
            sides["teacher"] = _changed(teacher, Tensor.clone)
        if answer is not None:
            with explained("the adapter"):
                sides["student"] = answer(sides["student"])
        batch = attrs.evolve(
            self.batch, images=self.batch.images.clone(), labels=self.batch.labels.clone()
        )
        named = (loss.on,) if loss.on else ("student", "teacher")
        return {name: sides[name] for name in named}, batch

    def _trained(self, side: str, branch: Branch, to_backbone: bool) -> list[Tensor]:
        """What a loss on one side trains: its heads, its classifiers, and the backbone."""
        parts = [
            (name, value) for name, value in self.model.named_parameters() if name.startswith(side)
        ]
        return [value for _, value in parts if value.requires_grad] + [
            branch.features_BF
        ] * to_backbone


def _teachers_of(
    loss: LossSpec, frozen: Branch | None, named: Mapping[str, Branch]
) -> dict[str | None, Branch | None]:
    """What a loss is called with as its teacher, by name: None is the scheme's."""
    if loss.teacher is None:
        return {None: frozen}
    return {name: branch for name, branch in named.items() if loss.teacher in (name, "*")}


def rehearse_sampler(spec: StageSpec, train_counts: Mapping[str, int], signal: float = 1.0) -> None:
    """Ask a stage's sampler for its first domains, and update it.

    A second one continues from its state, and must go on alike.

    Args:
        spec: the stage.
        train_counts: training images of each domain.
        signal: what the loss that it follows gave.

    Raises:
        ValueError: its options do not fit the domains.
        TrainingError: it fails, stands still, or keeps what no checkpoint can hold.
    """
    steps, use = spec.required_training.steps, spec.required_training.sampler.use
    sampler = GuardedSampler(build_sampler(spec, train_counts), use)
    sampler.check_progress(0, steps)
    _ask(sampler, spec, 0)
    if (step := sampler.known_until()) < steps:
        sampler.update(
            step,
            {
                domain: (signal * spec.required_training.batch, spec.required_training.batch)
                for domain in spec.domains
            },
        )
        sampler.check_progress(step, steps)
        _ask(sampler, spec, step)
        sampler.shares()
    else:
        step = 0
    kept = io.BytesIO()
    torch.save(sampler.state_dict(), kept)
    kept.seek(0)
    again = GuardedSampler(build_sampler(spec, train_counts), use)
    again.load_state_dict(torch.load(kept, weights_only=True))
    if _ask(again, spec, step) != _ask(sampler, spec, step):
        raise TrainingError(
            f"sampler '{use}' goes on otherwise after load_state_dict(state_dict()): a run that is"
            " stopped would change"
        )


def _ask(sampler: Sampler, spec: StageSpec, start: int) -> list[str]:
    """The first domains from a step on.

    Raises:
        TrainingError: one of them is not the stage's.
    """
    stop = min(sampler.known_until(), spec.required_training.steps, start + 2 * len(spec.domains))
    named = []
    for step in range(start, stop):
        sampler.clears_at(step)
        named.append(sampler.domain_at(step))
    if strange := [name for name in named if name not in spec.domains]:
        use, there = spec.required_training.sampler.use, ", ".join(spec.domains)
        raise TrainingError(
            f"sampler '{use}' names domain {strange[0]!r}, allowed are the domains' names: {there}"
        )
    return named


def _name_of(objective: Objective, loss: LossSpec) -> str:
    """A loss as sentences call it, with its file and line."""
    return f"loss '{loss.name}' ('{loss.use}', {location(type(objective.terms[loss.name]))})"


def _value(objective: Objective, loss: LossSpec, given: dict[str, Branch], batch: Batch) -> Tensor:
    """The term of a loss, with the random numbers that it has in every rehearsal."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return objective.term(loss, *given.values(), batch)


def _tensors(branch: Branch) -> dict[str, Tensor]:
    names = ("features_BF", "embedding_BD", "cosine_BC", "raw_BD")
    return {name: tensor for name in names if (tensor := getattr(branch, name)) is not None}


def _changed(branch: Branch, change: Any) -> Branch:
    return attrs.evolve(
        branch, **{name: change(tensor) for name, tensor in _tensors(branch).items()}
    )


def _versions(given: Mapping[str, Branch], batch: Batch) -> dict[str, int]:
    """How often each tensor that a loss is given has been changed in place."""
    tensors = {
        f"{side}.{name}": tensor
        for side, branch in given.items()
        for name, tensor in _tensors(branch).items()
    }
    return {
        name: tensor._version
        for name, tensor in {
            **tensors,
            "batch.images": batch.images,
            "batch.labels": batch.labels,
        }.items()
    }

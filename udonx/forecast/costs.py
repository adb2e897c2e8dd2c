"""What work costs on this machine, in seconds per unit.

Every run measures it, `udonx plan` estimates from it. Units are steps and embedded images.

A kind of work is plain data and holds what makes its unit cost what it costs: the data, the
backbone with its options, crop, batch and precision. A step's kind also says whether the backbone
has a backward pass, who learns and who teaches, and how many parameters the classifiers have (the
power of two). The optimiser updates all domains' in every step, unless it skips the inactive ones,
which is in the kind too. Seeds, rates, loss weights and what a head is are not in it: they cost
next to nothing. Nor are the domains of a stage: their images are taken to cost the same.

Costs are those of the usual number of loading threads: what runs with another records nothing.

Kept in timings.json of the cache folder. A folder that cannot be written, or a file that cannot be
read, means no estimate, never an error.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import torch

from registry.contracts import StageSpec, Training
from udonx.common.cache import JsonCache
from udonx.data.benchmark import Benchmark
from udonx.engine.device import describe, loading_threads
from udonx.engine.hooks import Hook, Lap, Validation
from udonx.planning.identity import digest, to_plain

Kind = dict[str, Any]
Work = list[tuple[Kind, int]]
"""Kinds, and how many units of each."""


def embed_kind(spec: StageSpec, benchmark: Benchmark) -> Kind:
    """The kind of embedding images with a stage's model; which head comes last changes nothing.

    The data are named by what generated them, or by where they lie.
    """
    return {
        "unit": "image",
        "data": benchmark.fingerprint or str(benchmark.root.resolve()),
        **_forward(spec),
    }


def step_kind(spec: StageSpec, benchmark: Benchmark, *, backward: bool) -> Kind:
    """The kind of a stage's steps.

    Args:
        spec: a stage that trains.
        benchmark: its data.
        backward: whether the backbone has a backward pass in them.
    """
    teachers = {
        digest(kind): kind for kind in (_forward(teacher.stage) for teacher in spec.teachers)
    }
    update = spec.required_training.update
    size = _classifier_parameters(spec, benchmark).bit_length()
    return {
        **embed_kind(spec, benchmark),
        "unit": "step",
        "transform": spec.transform.mode,
        "batch": spec.required_training.batch,
        "backward": backward,
        **({"update": [update.use, update.options]} if update else {}),
        "student": spec.student_head is not None,
        "own_teachers": spec.teacher_head is not None,
        "teachers": [teachers[key] for key in sorted(teachers)],
        "classifiers": {
            "bits": size,
            "of": spec.classifier,
            "inactive": spec.required_training.optimiser.inactive_heads,
            **{
                side: {"use": head.classifier.use, **head.classifier.options}
                for side, head in (("student", spec.student_head), ("teacher", spec.teacher_head))
                if head is not None and head.classifier is not None
            },
        },
    }


def _forward(spec: StageSpec) -> Kind:
    """What a forward pass of a stage's model costs."""
    backbone = {"use": spec.backbone.use, "options": to_plain(spec)["backbone"]["options"]}
    return {"backbone": backbone, "crop": spec.transform.crop, "precision": spec.precision}


def _classifier_parameters(spec: StageSpec, benchmark: Benchmark) -> int:
    """A weight per class and dimension, for the student and for the stage's own teachers."""
    classes = sum(domain.train_classes for domain in benchmark.facts if domain.name in spec.domains)
    return classes * sum(
        head.dim for head in (spec.student_head, spec.teacher_head) if head is not None
    )


def held_steps(training: Training) -> int:
    """How many of the first steps have no backward pass of the backbone.

    A rate of 0 (`zero_lr`, `official`) saves nothing.
    """
    return (
        min(int(training.optimiser.frozen), training.steps)
        if training.optimiser.freeze == "no_grad"
        else 0
    )


@attrs.frozen
class Cost:
    """Seconds per unit of a kind of work: the mean over `count` units, measured on `day`."""

    kind: dict[str, Any]
    seconds: float = attrs.field(validator=attrs.validators.gt(0))
    count: int
    day: str


_KEPT = JsonCache("timings.json", dict[str, dict[str, Cost]])
"""All machines' costs by kind."""


class Timings:
    """The costs measured on this machine with one device.

    Args:
        device: what `udonx.engine.device.describe` says of it.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._machine = f"{platform.node()}: {device}"
        self._costs = _KEPT.read().get(self._machine, {})

    def knows(self, kind: Kind) -> bool:
        """Whether this very kind has been measured."""
        return digest(kind) in self._costs

    def cost(self, kind: Kind) -> float | None:
        """Seconds per unit; None where nothing near has been measured.

        A step that has not been measured counts like the nearest that differs only in its
        classifiers.
        """
        if exact := self._costs.get(digest(kind)):
            return exact.seconds
        if kind["unit"] != "step":
            return None
        near = [
            cost
            for cost in self._costs.values()
            if _without_classifiers(cost.kind) == _without_classifiers(kind)
        ]
        return min(near, key=lambda cost: _distance(cost.kind, kind)).seconds if near else None

    def seconds(self, work: Work) -> float | None:
        """How long work takes; None where the cost of a part of it is not known."""
        seconds = 0.0
        for kind, count in work:
            if not count:
                continue
            if (cost := self.cost(kind)) is None:
                return None
            seconds += cost * count
        return seconds

    def add(self, measured: Iterable[tuple[Kind, float, int]]) -> None:
        """Keep what was measured, in place of an earlier day's, or of fewer units of today.

        Of two processes that write at the same moment one may be lost, which the next measurement
        makes good.

        Args:
            measured: kinds, the seconds that all their units took, and the units.
        """
        everything, today = _KEPT.read(), time.strftime("%Y-%m-%d")
        self._costs = everything.setdefault(self._machine, {})
        for kind, seconds, count in measured:
            if count < 1 or seconds <= 0:
                continue
            before = self._costs.get(digest(kind))
            if before is None or before.day < today or before.count <= count:
                self._costs[digest(kind)] = Cost(kind, seconds / count, count, today)
        _KEPT.write(
            {
                machine: {key: attrs.asdict(cost) for key, cost in costs.items()}
                for machine, costs in everything.items()
            }
        )


class StageTimer(Hook):
    """Keeps what the steps and images of one stage cost, as its training loop measures them.

    The first lap of each kind is left out as soon as there is a second: it holds memory being taken
    and the loader's start.

    Args:
        timings: where the costs are kept.
        spec: a stage that trains.
        benchmark: its data.
    """

    def __init__(self, timings: Timings, spec: StageSpec, benchmark: Benchmark) -> None:
        self._timings = timings
        self._held = held_steps(spec.required_training)
        self._kinds = {
            backward: step_kind(spec, benchmark, backward=backward) for backward in (False, True)
        }
        self._laps: dict[bool, list[tuple[float, int]]] = {False: [], True: []}
        self._images = embed_kind(spec, benchmark)
        self._embedded: list[tuple[float, int]] = []

    def on_lap(self, lap: Lap) -> None:
        """Note a lap; one in which the backbone wakes says nothing of either kind."""
        if lap.last <= self._held or lap.first >= self._held:
            self._laps[lap.first >= self._held].append((lap.seconds, lap.last - lap.first))

    def on_validation(self, validation: Validation) -> None:
        """Note what embedding and searching took."""
        self._embedded.append((validation.seconds, validation.images))

    def on_checkpoint(self, step: int) -> None:
        """Keep what was measured so far."""
        self.save()

    def save(self) -> None:
        """Keep what was measured so far."""
        self._timings.add(self._measured())

    def _measured(self) -> Iterator[tuple[Kind, float, int]]:
        laps = [(self._kinds[backward], laps[1:] or laps) for backward, laps in self._laps.items()]
        for kind, parts in [*laps, (self._images, self._embedded)]:
            yield kind, sum(seconds for seconds, _ in parts), sum(count for _, count in parts)


def stage_timers(
    spec: StageSpec, benchmark: Benchmark, device: torch.device, workers: int
) -> tuple[StageTimer, ...]:
    """What keeps the costs of a stage's steps and images.

    Args:
        spec: the stage.
        benchmark: its data.
        device: where it is trained.
        workers: threads that load its images.

    Returns:
        One timer; none for a stage without steps, and where `workers` is not the usual number: its
        costs are not those of others.
    """
    if spec.training is None or workers != loading_threads(device):
        return ()
    return (StageTimer(Timings(describe(device)), spec, benchmark),)


def _without_classifiers(kind: Kind) -> str:
    return digest({key: value for key, value in kind.items() if key != "classifiers"})


def _distance(one: Kind, other: Kind) -> tuple[int, bool, bool]:
    ours, theirs = one["classifiers"], other["classifiers"]
    return (
        abs(ours["bits"] - theirs["bits"]),
        ours["of"] != theirs["of"],
        ours["inactive"] != theirs["inactive"],
    )

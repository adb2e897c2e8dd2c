"""How long rows take from here on, as they run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from udonx.forecast.costs import Timings, Work
from udonx.forecast.remaining import evaluation_work, stage_work
from udonx.planning.plan import Plan, PlannedRow
from udonx.store.results import Results


class TimeLeft:
    """Seconds that the rows of some plans take from here on.

    Costs are those that this machine has measured (udonx/forecast/costs.py). The steps of the stage
    that trains count as its last steps did.

    Args:
        plans: what is run.
        results: what is there already.
        device: what `udonx.engine.device.describe` says of it.
    """

    def __init__(self, plans: Sequence[Plan], results: Results, device: str) -> None:
        self._device = device
        self._stages: dict[str, Work] = {}
        self._specs = {name: (spec, plan) for plan in plans for name, spec in plan.stages.items()}
        for name, (spec, plan) in self._specs.items():
            if not results.stage(name).finished:
                self._stages[name] = stage_work(spec, plan.benchmark)
        self._evaluations: dict[str, Work] = {}
        for plan in plans:
            metrics = plan.experiment.metrics
            for evaluation in (each for row in plan.rows for each in row.evaluations):
                if not results.has_evaluation(evaluation.id, metrics):
                    work = evaluation_work(evaluation.spec, plan.benchmark)
                    self._evaluations[evaluation.id] = work
        self._rows = [row for plan in plans for row in plan.rows]
        self._per_step: dict[str, float] = {}  # by stage
        self._count()

    def stage_at(self, stage: str, step: int, seconds_per_step: float) -> None:
        """A stage has come to a step.

        Args:
            stage: its id.
            step: steps that are done.
            seconds_per_step: what its last steps took.
        """
        spec, plan = self._specs[stage]
        self._stages[stage] = stage_work(spec, plan.benchmark, step)
        self._per_step[stage] = seconds_per_step
        self._seconds[stage] = self._of_stage(stage)

    def done(self, identity: str) -> None:
        """A stage or an evaluation is there; what it has measured counts from here on."""
        self._stages.pop(identity, None)
        self._evaluations.pop(identity, None)
        self._count()

    def of_row(self, planned: PlannedRow) -> float | None:
        """Seconds that a row takes from here on; None where a part was never measured."""
        return self._sum([planned])

    def of_all(self) -> float | None:
        """Seconds that all rows take from here on; None where a part was never measured."""
        return self._sum(self._rows)

    def _count(self) -> None:
        self._timings = Timings(self._device)
        self._seconds = {
            **{stage: self._of_stage(stage) for stage in self._stages},
            **{name: self._timings.seconds(work) for name, work in self._evaluations.items()},
        }

    def _of_stage(self, stage: str) -> float | None:
        work, per_step = self._stages[stage], self._per_step.get(stage)
        if per_step is None:
            return self._timings.seconds(work)
        images = [(kind, count) for kind, count in work if kind["unit"] == "image"]
        steps = sum(count for kind, count in work if kind["unit"] == "step")
        # a validation that was never measured costs little beside the steps
        return steps * per_step + (self._timings.seconds(images) or 0.0)

    def _sum(self, rows: Iterable[PlannedRow]) -> float | None:
        """The seconds of what rows need, each stage and evaluation once."""
        needed = {
            name
            for row in rows
            for name in (*row.stages, *(evaluation.id for evaluation in row.evaluations))
        }
        parts = [self._seconds[name] for name in needed if name in self._seconds]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

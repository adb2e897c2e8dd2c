"""Turns what a training loop reports into events of the run."""

from __future__ import annotations

from udonx.engine.hooks import Hook, Lap, Validation
from udonx.planning.plan import PlannedRow
from udonx.planning.stages import stage_title
from udonx.running.events import StageBegun, StageEnded, StageValidated, StepsDone
from udonx.running.session import PlanRun, row_id


class StageWatch(Hook):
    """Tells of one stage of a row.

    Args:
        identity: the stage.
        planned: the row that needs it.
        context: the plan that it is of, and how that is run.
    """

    def __init__(self, identity: str, planned: PlannedRow, context: PlanRun) -> None:
        self._stage, self._planned = identity, planned
        self._spec = context.plan.stages[identity]
        self._tell, self._left = context.session.tell, context.session.left
        self._row = row_id(planned, context.plan)
        training = self._spec.training
        self._steps = training.steps if training else 0

    def begin(self) -> None:
        """It begins to train."""
        title = stage_title(self._spec)
        self._tell(StageBegun(row=self._row, stage=self._stage, title=title, steps=self._steps))

    def on_lap(self, lap: Lap) -> None:
        """Tell of the losses, and of how long the rest takes."""
        if self._left is not None:
            self._left.stage_at(self._stage, lap.last, lap.seconds / max(1, lap.last - lap.first))
        self._tell(
            StepsDone(
                row=self._row,
                stage=self._stage,
                step=lap.last,
                steps=self._steps,
                loss=lap.total,
                losses=lap.losses,
                shares=lap.shares,
                images_per_second=lap.images_per_second,
                row_seconds_left=self._left.of_row(self._planned) if self._left else None,
                seconds_left=self._left.of_all() if self._left else None,
            )
        )

    def on_validation(self, validation: Validation) -> None:
        """Tell of the metrics."""
        metrics = validation.result.main
        per_domain = {str(name): each.r1 for name, each in metrics.per_domain.items()}
        self._tell(
            StageValidated(
                row=self._row,
                stage=self._stage,
                step=validation.step,
                metrics=dict(metrics.means),
                per_domain=per_domain,
            )
        )

    def end(self) -> None:
        """It is trained."""
        self._tell(StageEnded(row=self._row, stage=self._stage))

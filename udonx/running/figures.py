"""The figures of a row, given to the run record and to the writers of curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from udonx.engine.hooks import Hook, Lap, Validation
from udonx.running.writers import RunWriters

_MOST_POINTS = 500
"""Points of a curve in the run record, whose observers write all of them again and again."""


@attrs.frozen
class RowFigures:
    """Who keeps the figures of a row.

    Attributes:
        record: the run of the record.
        writers: write its curves.
    """

    record: Any
    writers: RunWriters

    def write(
        self, part: str, step: int, values: Mapping[str, float], *, recorded: bool = True
    ) -> None:
        """Give figures to all of them; what is not finite is left out, since JSON cannot hold it.

        Args:
            part: the stage that they are of; `test` for the evaluations.
            step: steps that are done.
            values: figures by names such as `losses/kl_logit`.
            recorded: whether they are given to the run record too.
        """
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.writers.scalars(part, step, finite)
        for name, value in finite.items() if recorded else ():
            self.record.log_scalar(f"{part}/{name}".replace("/", "."), value, step)


class StageFigures(Hook):
    """Gives the losses and validations of a stage to those who keep the figures of its row.

    Args:
        figures: who keeps them.
        stage: what they call the stage.
        steps: of the whole stage.
    """

    def __init__(self, figures: RowFigures, stage: str, steps: int) -> None:
        self._figures, self._stage = figures, stage
        self._every = steps / _MOST_POINTS
        self._recorded = 0

    def on_lap(self, lap: Lap) -> None:
        """Keep losses, speed and shares; a long stage records only some of its laps."""
        number = int(lap.last / self._every)
        losses = lap.losses if len(lap.losses) > 1 else {}
        values = {
            "loss": lap.total,
            **{f"losses/{name}": value for name, value in losses.items()},
            **{f"shares/{domain}": share for domain, share in lap.shares.items()},
            "images_per_second": lap.images_per_second,
        }
        self._figures.write(self._stage, lap.last, values, recorded=number > self._recorded)
        self._recorded = number

    def on_validation(self, validation: Validation) -> None:
        """Keep the metrics, the first ones of each domain too."""
        metrics = validation.result.main
        values = {
            **{f"validation/{name}": mean for name, mean in metrics.means.items()},
            **{f"validation/r1/{name}": each.r1 for name, each in metrics.per_domain.items()},
        }
        self._figures.write(self._stage, validation.step, values)

"""How long rows take while they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.udonx.forecast.test_remaining import CPU, cache, known, plan
from udonx.forecast.left import TimeLeft
from udonx.forecast.remaining import workload
from udonx.planning.plan import Plan
from udonx.store.results import Results

__all__ = ["cache", "plan"]  # fixtures


def test_the_rest_shrinks_with_the_steps_and_follows_their_speed(
    plan: Plan, tmp_path: Path
) -> None:
    """Steps that are done are left out, those of a stage that trains count as its last ones did."""
    results = Results(tmp_path / "results")
    known(workload([plan], results))
    left = TimeLeft([plan], results, CPU)
    row, stage = plan.rows[0], plan.rows[0].stages[-1]
    # 20 steps, 4 validations of 8 images, 8 test images
    steps, images = 20 * 3.0, 0.5 * 8
    whole = left.of_row(row)
    assert whole is not None and left.of_all() is not None and left.of_all() > whole
    left.stage_at(stage, 10, seconds_per_step=2.0)
    half = left.of_row(row)
    assert half is not None and half <= whole - steps / 2
    left.stage_at(stage, 10, seconds_per_step=4.0)
    slower = left.of_row(row)
    assert slower == half + 10 * 2.0
    left.done(stage)
    assert left.of_row(row) == images
    left.done(row.evaluations[0].id)
    assert left.of_row(row) == 0.0


def test_what_was_never_measured_is_not_known(plan: Plan, tmp_path: Path) -> None:
    """Without costs there is no time; the stage that trains is known by its own steps."""
    left = TimeLeft([plan], Results(tmp_path / "results"), CPU)
    assert left.of_all() is None
    left.stage_at(plan.rows[0].stages[-1], 10, seconds_per_step=2.0)
    left.done(plan.rows[0].evaluations[0].id)
    assert left.of_row(plan.rows[0]) == pytest.approx(20.0)

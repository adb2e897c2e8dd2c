"""The figures of a row: in the run record and in curves."""

from __future__ import annotations

import json
from pathlib import Path

from udonx.engine.hooks import Lap
from udonx.running.figures import RowFigures, StageFigures
from udonx.running.record import Recorder
from udonx.running.writers import RunWriters, WrittenRun


def recorded(folder: Path, body) -> dict:
    """metrics.json of a run whose body is given the figures."""
    run = WrittenRun(results=folder, table="t", name="a", stages=(), config={})
    with RunWriters((), run) as writers:
        Recorder(folder, ()).run(
            "test",
            {},
            lambda record: body(RowFigures(record, writers)) or {},
            lambda identity: None,
        )
    return json.loads((folder / "1" / "metrics.json").read_text())


def lap(step: int, total: float = 1.0) -> Lap:
    losses = {"kl_logit": 0.25, "relational": 0.75}
    shares = {"cars": 0.5, "food": 0.5}
    return Lap(
        first=step - 1, last=step, seconds=2.0, total=total, losses=losses, images=64, shares=shares
    )


def test_a_figure_that_is_not_finite_is_not_recorded(tmp_path: Path) -> None:
    """JSON has no NaN."""

    def body(figures: RowFigures) -> None:
        figures.write("student", 1, {"loss": float("nan"), "losses/a": float("inf")})
        figures.write("student", 2, {"loss": 2.0})

    metrics = recorded(tmp_path, body)
    assert metrics.keys() == {"student.loss"} and metrics["student.loss"]["values"] == [2.0]


def test_each_loss_and_share_has_a_curve(tmp_path: Path) -> None:
    """A lap gives the total, every loss, every domain's share and the speed, at its last step."""
    metrics = recorded(
        tmp_path, lambda figures: StageFigures(figures, "student", 10).on_lap(lap(5))
    )
    assert {name: (curve["steps"], curve["values"]) for name, curve in metrics.items()} == {
        "student.loss": ([5], [1.0]),
        "student.losses.kl_logit": ([5], [0.25]),
        "student.losses.relational": ([5], [0.75]),
        "student.shares.cars": ([5], [0.5]),
        "student.shares.food": ([5], [0.5]),
        "student.images_per_second": ([5], [32.0]),
    }


def test_the_record_of_a_long_stage_is_bounded(tmp_path: Path) -> None:
    """Of a thousand laps the record has 500 points of each curve, the last one too."""

    def body(figures: RowFigures) -> None:
        stage = StageFigures(figures, "student", 100_000)
        for step in range(100, 100_001, 100):
            stage.on_lap(lap(step))

    steps = recorded(tmp_path, body)["student.loss"]["steps"]
    assert len(steps) == 500 and steps[-1] == 100_000

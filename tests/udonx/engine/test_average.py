"""The mean of the weights: its values, what is kept of it, and that it continues bit for bit."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from registry.contracts import Average
from tests.udonx.engine.small import (
    Interrupted,
    kept,
    same,
    small_job,
    small_spec,
    snapshot,
    training,
)
from udonx.data.benchmark import Benchmark
from udonx.engine.loop import Loop
from udonx.engine.train import run_stage

EMA = Average(use="ema", decay=0.75, start=3)
TAIL = Average(use="tail", start=3)
STEPS = 8


def averaged_spec(average: Average | None, **changes: Any) -> Any:
    """A short stage with an average, validated twice."""
    return small_spec(
        **{"steps": STEPS, "validate_every": 4, "batch_norm": "training", **changes},
        average=average,
    )


def weights_after_each_step(loop: Loop) -> list[dict[str, torch.Tensor]]:
    """The weights after every step, in float64; entry 0 is after the first."""
    with closing(loop.steps()) as steps:
        return [
            {name: value.double() for name, value in snapshot(loop.model).items()} for _ in steps
        ]


@pytest.mark.parametrize("average", [EMA, TAIL], ids=["ema", "tail"])
def test_averages_against_a_loop(
    small_benchmark: Benchmark, tmp_path: Path, average: Average
) -> None:
    """Until `start` the mean is the weights; then an exponential or plain mean of the weights and
    the running statistics.
    """
    loop = training(small_job(tmp_path, averaged_spec(average), small_benchmark))
    steps = weights_after_each_step(loop)
    for name, ours in loop.state.kept_model.state_dict().items():
        if average.use == "tail":
            expected = torch.stack([weights[name] for weights in steps[3:]]).mean(dim=0)
        else:
            expected = steps[2][name]
            for weights in steps[3:]:
                expected = 0.75 * expected + 0.25 * weights[name]
        if ours.is_floating_point():
            torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(ours, steps[-1][name].to(ours.dtype))


def test_an_average_changes_no_step(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """The weights that are trained are those of a stage without an average."""
    plain, averaged = (
        weights_after_each_step(
            training(small_job(tmp_path / str(number), averaged_spec(average), small_benchmark))
        )
        for number, average in enumerate((None, EMA))
    )
    assert all(same(ours, theirs) for ours, theirs in zip(plain, averaged, strict=True))


def test_the_average_is_kept(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """The best weights are those of the average, under the names of the model."""
    job = small_job(tmp_path, averaged_spec(TAIL, validate_every=STEPS), small_benchmark)
    loop = training(job)
    loop.run()
    best = job.folder.load_best()
    assert same(best, loop.state.kept_model.state_dict())
    assert best.keys() == loop.model.state_dict().keys()
    assert not same(best, loop.model.state_dict())


@pytest.mark.parametrize("average", [EMA, TAIL], ids=["ema", "tail"])
@pytest.mark.parametrize("stop", [2, 5])
def test_a_stopped_average_continues(
    small_benchmark: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    average: Average,
    stop: int,
) -> None:
    """A run that stops before or within the average gives the bytes of one that does not."""
    spec = averaged_spec(average)
    whole = small_job(tmp_path / "whole", spec, small_benchmark)
    run_stage(whole)
    job = small_job(tmp_path / "stopped", spec, small_benchmark, checkpoint_seconds=0.0)
    train_step = Loop._train_step

    def stopping(self: Loop, step: int, batch: Any) -> None:
        train_step(self, step, batch)
        if step == stop:
            raise Interrupted

    monkeypatch.setattr(Loop, "_train_step", stopping)
    with pytest.raises(Interrupted):
        run_stage(job)
    monkeypatch.setattr(Loop, "_train_step", train_step)
    run_stage(job)
    assert kept(job.folder) == kept(whole.folder)

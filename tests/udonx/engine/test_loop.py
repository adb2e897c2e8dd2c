"""What the training loop tells its hooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.udonx.engine.small import small_job, small_spec
from udonx.data.benchmark import Benchmark
from udonx.engine.hooks import Hook, Lap, Validation
from udonx.engine.train import run_stage


class Listener(Hook):
    """Keeps what it hears, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.laps: list[Lap] = []
        self.validations: list[Validation] = []

    def on_lap(self, lap: Lap) -> None:
        self.heard.append(("lap", lap.last))
        self.laps.append(lap)

    def on_validation(self, validation: Validation) -> None:
        self.heard.append(("validation", validation.step))
        self.validations.append(validation)

    def on_checkpoint(self, step: int) -> None:
        self.heard.append(("checkpoint", step))


def test_hooks_hear_laps_validations_and_checkpoints(
    small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """Every hook hears of each lap, each validation and the checkpoint after it, in this order,
    with the figures of the log.
    """
    hooks = (Listener(), Listener())
    spec = small_spec(steps=4, validate_every=2)
    job = small_job(tmp_path, spec, small_benchmark, hooks=hooks)
    run_stage(job)
    for hook in hooks:
        assert hook.heard == [
            ("lap", 1),
            ("lap", 2),
            ("validation", 2),
            ("checkpoint", 2),
            ("lap", 3),
            ("lap", 4),
            ("validation", 4),
            ("checkpoint", 4),
        ]
        assert [(lap.first, lap.last) for lap in hook.laps] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    log = job.folder.read_log()
    assert [(lap.total, lap.losses) for lap in hooks[0].laps] == [
        (entry["total"], entry["losses"]) for entry in log if "total" in entry
    ]
    assert [validation.result.main.r1 for validation in hooks[0].validations] == [
        entry["validation"]["r1"] for entry in log if "validation" in entry
    ]


def test_hooks_hear_of_checkpoints_between_validations(
    small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """A checkpoint that is due between two validations is heard of too."""
    hook = Listener()
    spec = small_spec(steps=3, validate_every=3)
    run_stage(small_job(tmp_path, spec, small_benchmark, checkpoint_seconds=0.0, hooks=(hook,)))
    checkpoints = [step for kind, step in hook.heard if kind == "checkpoint"]
    assert checkpoints == [1, 2, 3]


def test_what_a_hook_raises_ends_the_training(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """An error of a hook is not swallowed."""

    class Failing(Hook):
        def on_lap(self, lap: Lap) -> None:
            raise LookupError("mine")

    job = small_job(tmp_path, small_spec(steps=2), small_benchmark, hooks=(Failing(),))
    with pytest.raises(LookupError, match="mine"):
        run_stage(job)
    assert not job.folder.finished

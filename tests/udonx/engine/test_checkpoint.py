"""Checkpoints: what they hold, and that a damaged one is never believed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from registry.heads.moments import Moments
from tests.udonx.engine.small import (
    DOMAINS,
    LONG,
    fitted_spec,
    kept,
    small_job,
    small_spec,
    training,
)
from udonx.common.files import DamagedFileError
from udonx.data.benchmark import Benchmark
from udonx.engine.train import run_stage
from udonx.store.stage import StageFolder


def test_checkpoint_is_plain(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """The checkpoint holds tensors and plain data only, and goes when the stage is done."""
    job = small_job(tmp_path, small_spec(**LONG), small_benchmark)
    loop = training(job).steps()
    for _ in range(31):
        next(loop)
    loop.close()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 30 and state["summed"] == 0 and sum(state["taken"].values()) == 30
    assert state["window"][:, 1].sum() == 2 * 4  # two steps since the update at 28
    run_stage(job)
    assert not job.folder.started and job.folder.done.steps == 100


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_checkpoint(
    short: StageFolder,
    small_benchmark: Benchmark,
    tmp_path: Path,
    logged: list[str],
    damage: str,
) -> None:
    """A stage whose checkpoint is damaged says so and starts anew, and ends as one that was never
    stopped.
    """
    job = small_job(tmp_path, small_spec(), small_benchmark, checkpoint_seconds=0.0)
    loop = training(job).steps()
    for _ in range(3):
        next(loop)
    loop.close()
    content = bytearray((tmp_path / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "state.pt").write_bytes(
        {"flipped": content, "cut": content[:-100], "empty": b""}[damage]
    )
    run_stage(job)
    assert re.search(r"small: .*state\.pt is damaged \(.+\); the stage starts anew", logged[0])
    assert kept(job.folder) == kept(short)


def test_damaged_best_weights_of_a_stage_half_trained(
    small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """Best weights that are no longer those that the checkpoint names stop the stage in one
    sentence; the checkpoint stays.
    """
    job = small_job(tmp_path, small_spec(validate_every=2), small_benchmark, checkpoint_seconds=0.0)
    loop = training(job).steps()
    for _ in range(3):
        next(loop)
    loop.close()
    content = bytearray(job.folder.best.read_bytes())
    content[-20] ^= 1
    job.folder.best.write_bytes(content)
    with pytest.raises(
        DamagedFileError,
        match=r"best\.safetensors is damaged: it is not what was written; train the stage again",
    ):
        run_stage(job)
    assert job.folder.started


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"step": 3}, r"is no checkpoint of this stage \(KeyError"),
        (
            {
                "taken": dict.fromkeys(DOMAINS, 4),
                "seconds": 0.0,
                "moments": Moments(3).state_dict(),
            },
            r"is no checkpoint of this stage",
        ),
    ],
)
def test_a_checkpoint_of_something_else(
    small_benchmark: Benchmark, tmp_path: Path, state: dict[str, Any], message: str
) -> None:
    """A checkpoint that is no fit's, or of other features, is refused in a sentence."""
    job = small_job(tmp_path, fitted_spec(), small_benchmark)
    job.folder.path.mkdir(exist_ok=True)
    job.folder.save_state(state)
    with pytest.raises(DamagedFileError, match=message):
        run_stage(job)


def test_a_damaged_checkpoint_of_a_fit(
    small_benchmark: Benchmark, tmp_path: Path, logged: list[str]
) -> None:
    """A fit whose checkpoint is damaged says so and starts anew."""
    job = small_job(tmp_path, fitted_spec(), small_benchmark)
    job.folder.path.mkdir(exist_ok=True)
    (job.folder.path / "state.pt").write_bytes(b"PK\3\4")
    assert run_stage(job).images and "the stage starts anew" in logged[0]

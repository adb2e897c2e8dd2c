"""Validation amid a training: which weights are kept, and what is logged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import attrs
import pytest
import safetensors

from tests.udonx.engine.small import (
    DOMAINS,
    Interrupted,
    same,
    small_job,
    small_spec,
    snapshot,
    training,
)
from udonx.data.benchmark import Benchmark
from udonx.engine import validation
from udonx.engine.train import run_stage
from udonx.store.stage import StageFolder


def test_without_validation(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A stage whose domains have no validation split keeps the weights of its last step."""
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    for domain in DOMAINS:
        (root / "info_files" / domain / "val.json").unlink()
    job = small_job(
        tmp_path / "stage",
        small_spec(steps=6, validate_every=2),
        Benchmark.open(root, list(DOMAINS)),
    )
    loop = training(job)
    done = loop.run()
    assert (done.best_step, done.best_r1) == (6, None)
    assert same(job.folder.load_best(), loop.model.state_dict())


def scored(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Let the validations of a stage measure these R@1, one after another."""
    coming, whole = iter(scores), validation.evaluate

    def evaluate(*args: Any, **kwargs: Any) -> Any:
        result = whole(*args, **kwargs)
        means = {**result.merged.means, "r1": next(coming)}
        return attrs.evolve(result, merged=attrs.evolve(result.merged, means=means))

    monkeypatch.setattr(validation, "evaluate", evaluate)


def test_best_is_strictly_better(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best step is the first with the highest validation R@1: ties keep the earlier, and later
    weights do not replace its.
    """
    scored(monkeypatch, [0.25, 0.5, 0.5, 0.4])
    job = small_job(tmp_path, small_spec(steps=8, validate_every=2), small_benchmark)
    loop = training(job)
    weights = {step: snapshot(loop.model) for step in loop.steps()}
    done = loop.finish()
    assert (done.best_step, done.best_r1) == (4, 0.5)
    assert same(job.folder.load_best(), weights[4])


def test_best_weights_are_those_that_the_checkpoint_names(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends between the checkpoint and the best weights leaves both of one step to
    the next, even where validation, made again, would no longer call that step the best (another
    device, another number of threads).
    """
    save = StageFolder.save_best

    def dying(self: StageFolder, tensors: Any, about: dict[str, Any]) -> Any:
        if about["step"] == 4 and not stopped:
            stopped.append(True)
            raise Interrupted
        return save(self, tensors, about)

    stopped: list[bool] = []
    scored(monkeypatch, [0.25, 0.5, 0.4, 0.3])
    monkeypatch.setattr(StageFolder, "save_best", dying)
    job = small_job(tmp_path, small_spec(steps=8, validate_every=2), small_benchmark)
    with pytest.raises(Interrupted):
        run_stage(job)
    loop = training(job)
    weights = {}
    for _ in loop.steps():
        weights = weights or job.folder.load_best()
    done = loop.finish()
    with safetensors.safe_open(job.folder.best, "pt") as file:
        about = json.loads(file.metadata()["udonx"])
    assert (done.best_step, done.best_r1) == (4, 0.5) and about == {
        "stage": "small",
        "step": 4,
        "validation_r1": 0.5,
    }
    assert same(job.folder.load_best(), weights)


def test_validation_is_logged(
    small_benchmark: Benchmark, tmp_path: Path, logged: list[str]
) -> None:
    """Every validation's R@1 is logged as it is measured, with its step, and which step is the best
    so far.
    """
    done = run_stage(small_job(tmp_path, small_spec(steps=4, validate_every=2), small_benchmark))
    lines = [line for line in logged if "validation R@1" in line]
    assert (
        lines[0].startswith("small: after step 2 of 4: validation R@1 ")
        and lines[0].endswith(", the best so far")
        and len(lines) == 2
    )
    assert done.best_step == 4 or lines[1].endswith(
        f"the best is {100 * done.best_r1:.1f} after step 2"
    )

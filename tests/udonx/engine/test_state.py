"""What a checkpoint keeps."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch

from registry.contracts import ComponentSpec, Optimiser
from tests.udonx.engine.small import dynamic, kept, small_job, small_spec
from udonx.data.benchmark import Benchmark
from udonx.engine.loop import Loop
from udonx.engine.train import prepare, run_stage

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "absent", [(), ("best",), ("unvalidated", "unreadable", "left_out", "best")]
)
def test_checkpoints_of_earlier_versions_are_read(
    small_benchmark: Benchmark, tmp_path: Path, absent: tuple[str, ...]
) -> None:
    """A stage continues, to the same weights and log, from a checkpoint that lacks the keys which
    earlier versions did not write.
    """
    spec = small_spec(steps=8, validate_every=3, sampler=dynamic(2))
    whole = small_job(tmp_path / "whole", spec, small_benchmark)
    run_stage(whole)
    job = small_job(tmp_path / "stopped", spec, small_benchmark, checkpoint_seconds=0.0)
    with closing(Loop(job, prepare(job)).steps()) as steps:
        next(step for step in steps if step == 6)
    state = job.folder.load_state(CPU)
    assert set(state) >= {"step", "seconds", "taken", "window", "sums", "sampler", "model", "log"}
    job.folder.save_state({key: value for key, value in state.items() if key not in absent})
    run_stage(job)
    assert job.folder.best.read_bytes() == whole.folder.best.read_bytes()
    assert job.folder.read_log() == whole.folder.read_log()


def test_a_state_is_loaded_as_it_was_taken(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """`load_state_dict` of a new loop's state gives what `state_dict` of the old one gave."""
    spec = small_spec(steps=4, sampler=dynamic(2))
    job = small_job(tmp_path, spec, small_benchmark)
    loop = Loop(job, prepare(job))
    with closing(loop.steps()) as steps:
        next(step for step in steps if step == 3)
    kept = loop.state.state_dict()
    again = Loop(job, prepare(job)).state
    again.load_state_dict(kept)
    loaded = again.state_dict()
    assert loaded.pop("seconds") >= kept.pop("seconds")
    torch.testing.assert_close(loaded, kept, rtol=0, atol=0)
    assert loaded["step"] == 3 and loaded["window"][:, 1].sum() == 8


def test_layer_rates_and_an_anchor_continue(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A stage with a rate for each layer and an anchor that is stopped gives the bytes of one that
    is not, and other bytes than without them.
    """
    options = {"lr_heads": 2e-3, "lr_backbone": 2e-3, "frozen": 2}
    optimiser = Optimiser(**options, layer_decay=0.5, anchor=50.0)
    spec = small_spec(steps=8, validate_every=4, optimiser=optimiser)
    folders = []
    for name, plain in (("plain", True), ("whole", False), ("stopped", False)):
        wanted = small_spec(steps=8, validate_every=4, optimiser=Optimiser(**options))
        job = small_job(
            tmp_path / name, wanted if plain else spec, small_benchmark, checkpoint_seconds=0.0
        )
        if name == "stopped":
            with closing(Loop(job, prepare(job)).steps()) as steps:
                next(step for step in steps if step == 5)
        run_stage(job)
        folders.append(job.folder)
    plain, whole, stopped = folders
    assert kept(stopped) == kept(whole)
    assert kept(plain) != kept(whole)


@pytest.mark.parametrize(
    "update",
    [
        ComponentSpec(use="sgd", options={"momentum": 0.5}),
        ComponentSpec(use="timm", options={"opt": "lion"}),
        ComponentSpec(use="timm", options={"opt": "lamb"}),
        ComponentSpec(use="timm", options={"opt": "adopt"}),
    ],
    ids=["sgd", "lion", "lamb", "adopt"],
)
def test_every_update_rule_continues(
    small_benchmark: Benchmark, tmp_path: Path, update: ComponentSpec
) -> None:
    """A stage of another update rule that is stopped gives the bytes of one that is not."""
    spec = small_spec(steps=8, validate_every=4, update=update)
    whole = small_job(tmp_path / "whole", spec, small_benchmark)
    run_stage(whole)
    job = small_job(tmp_path / "stopped", spec, small_benchmark, checkpoint_seconds=0.0)
    with closing(Loop(job, prepare(job)).steps()) as steps:
        next(step for step in steps if step == 6)
    run_stage(job)
    assert kept(job.folder) == kept(whole.folder)


def test_adamw_by_name_is_the_default(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A stage that names `adamw` gives the bytes of one that names no rule."""
    folders = []
    for number, update in enumerate((None, ComponentSpec(use="adamw"))):
        spec = small_spec(steps=4, validate_every=4, update=update)
        job = small_job(tmp_path / str(number), spec, small_benchmark)
        run_stage(job)
        folders.append(job.folder)
    assert kept(folders[0]) == kept(folders[1])

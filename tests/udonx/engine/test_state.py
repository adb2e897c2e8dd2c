"""What a checkpoint keeps."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch

from registry.contracts import ComponentSpec, InitSpec, LossSpec, Optimiser
from tests.udonx.engine.small import UDON, dynamic, kept, small_job, small_spec
from udonx.data.benchmark import Benchmark
from udonx.engine.loop import Loop
from udonx.engine.train import prepare, run_stage
from udonx.store.stage import StageFolder

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


@pytest.mark.parametrize("policy", ["drift", "skip"])
def test_a_loss_with_a_state_continues(
    small_benchmark: Benchmark, tmp_path: Path, proxies: type, policy: str
) -> None:
    """A loss's parameters are trained with the heads; they and its buffers continue to the bit
    from the checkpoint, and are no part of the weights that are kept.
    """
    spec = small_spec(
        steps=8,
        validate_every=4,
        losses=(*UDON, LossSpec(name="odd.name", use="proxies", on="student", ramp=7)),
        optimiser=Optimiser(lr_heads=2e-3, frozen=2, inactive_heads=policy),
    )
    whole = small_job(tmp_path / "whole", spec, small_benchmark)
    loop = Loop(whole, prepare(whole))
    (loss,) = loop.objective.stateful
    first = {name: value.clone() for name, value in loss.state_dict().items()}
    loop.run()
    assert loss.seen == 8 and loss.mean > 0
    assert all((value != first[name]).any() for name, value in loss.named_parameters())
    job = small_job(tmp_path / "stopped", spec, small_benchmark, checkpoint_seconds=0.0)
    with closing(Loop(job, prepare(job)).steps()) as steps:
        next(step for step in steps if step == 5)
    assert job.folder.load_state(CPU)["losses"]["stateful.0.seen"] == 5
    again = Loop(job, prepare(job))
    again.run()
    assert kept(job.folder) == kept(whole.folder)
    torch.testing.assert_close(
        again.objective.state_dict(), loop.objective.state_dict(), rtol=0, atol=0
    )
    assert not any("prox" in name for name in job.folder.load_best())


STATEFUL = {
    "adaface": {},
    "pml": {"loss": "SoftTripleLoss", "kwargs": {"centers_per_class": 2}},
}


@pytest.mark.parametrize("use", STATEFUL)
def test_a_loss_that_ships_continues(small_benchmark: Benchmark, tmp_path: Path, use: str) -> None:
    """Parameters and buffers of a built-in loss go on to the bit after a run was stopped."""
    if use == "pml":
        pytest.importorskip("pytorch_metric_learning")
    loss = LossSpec(name="more", use=use, on="student", options=STATEFUL[use])
    spec = small_spec(steps=6, validate_every=3, losses=(*UDON, loss))
    whole = small_job(tmp_path / "whole", spec, small_benchmark)
    loop = Loop(whole, prepare(whole))
    first = {name: value.clone() for name, value in loop.objective.state_dict().items()}
    loop.run()
    last = loop.objective.state_dict()
    assert first and all((last[name] != value).any() for name, value in first.items())
    job = small_job(tmp_path / "stopped", spec, small_benchmark, checkpoint_seconds=0.0)
    with closing(Loop(job, prepare(job)).steps()) as steps:
        next(step for step in steps if step == 4)
    again = Loop(job, prepare(job))
    again.run()
    assert kept(job.folder) == kept(whole.folder)
    torch.testing.assert_close(again.objective.state_dict(), last, rtol=0, atol=0)


def test_a_loss_with_a_state_moves_no_other_random_number(
    small_benchmark: Benchmark, tmp_path: Path, proxies: type
) -> None:
    """A loss of weight 0 beside the others, whatever it draws when it is built, leaves the bytes
    of the weights as they are.
    """
    weights = []
    for name, more in (
        ("without", ()),
        ("with", (LossSpec(name="p", use="proxies", weight=0.0, on="student"),)),
    ):
        spec = small_spec(steps=4, validate_every=4, losses=(*UDON, *more))
        job = small_job(tmp_path / name, spec, small_benchmark)
        run_stage(job)
        weights.append(job.folder.best.read_bytes())
    assert weights[0] == weights[1]


def test_a_stage_that_starts_from_another_continues(
    small_benchmark: Benchmark, short: StageFolder, tmp_path: Path
) -> None:
    """A stage with an init and an anchor that is stopped gives the bytes of one that is not: it is
    anchored to the weights after the init in both. Without an init its weights are others.
    """
    rates = Optimiser(lr_heads=2e-3, lr_backbone=2e-3, frozen=0, anchor=50.0)
    init = InitSpec(use="same", stages=(small_spec(),))
    folders = []
    for name, start in (("plain", None), ("whole", init), ("stopped", init)):
        spec = small_spec(steps=8, validate_every=4, optimiser=rates, init=start)
        job = small_job(
            tmp_path / name, spec, small_benchmark, checkpoint_seconds=0.0, sources=(short,)
        )
        if name == "stopped":
            with closing(Loop(job, prepare(job)).steps()) as steps:
                next(step for step in steps if step == 5)
        run_stage(job)
        folders.append(job.folder)
    plain, whole, stopped = folders
    assert kept(stopped) == kept(whole)
    assert kept(plain) != kept(whole)

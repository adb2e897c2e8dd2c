"""The training loop on stages of seconds: numbers, repeatability, resuming, failures, and what the
step may not do.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import safetensors
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from registry.contracts import HeadSpec, Optimiser, TeacherSpec
from registry.heads.moments import Moments
from tests.udonx.engine.small import (
    DOMAINS,
    PAIR,
    ROUND_ROBIN,
    STUDENT_CE,
    TEACHER_CE,
    dynamic,
    small_job,
    small_spec,
)
from udonx.common import interrupts
from udonx.common.files import DamagedFileError
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore
from udonx.data.loader import BatchLoader
from udonx.engine import train, validation
from udonx.engine.build import build_model
from udonx.engine.errors import TrainingError
from udonx.engine.job import Job
from udonx.engine.loop import Loop
from udonx.engine.model import Model
from udonx.engine.train import run_stage
from udonx.evaluation import protocol
from udonx.store.stage import Done, StageFolder

CURVE = [
    3.260862, 1.440343, 3.824143, 2.037458, 2.279855, 2.576869, 2.06461,
    2.072635, 2.37832, 1.366709, 1.789075, 1.951765, 2.197142, 1.124936,
    1.657604, 2.160233, 1.229484, 1.369013, 0.906004, 1.248056,
]  # fmt: skip
LONG = {"steps": 100, "batch": 4, "sampler": dynamic(7), "validate_every": 30}


class Stopped(RuntimeError):
    """What the tests throw into a run."""


def training(job: Job) -> Loop:
    """The loop of a job, not started."""
    classes = {domain: len(job.benchmark.labels(domain)) for domain in job.spec.domains}
    job.folder.path.mkdir(parents=True, exist_ok=True)
    return Loop(job, build_model(job.spec, classes, job.weights).to(job.device))


def snapshot(parts: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in parts.state_dict().items()}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in ours.items()
    )


def totals(folder: StageFolder) -> list[float]:
    return [entry["total"] for entry in folder.read_log() if "total" in entry]


def kept(folder: StageFolder) -> tuple[bytes, list[dict[str, Any]], Done]:
    """All that must not depend on how a run went: weights, log, done.json without the time."""
    return (
        (folder.path / "best.safetensors").read_bytes(),
        folder.read_log(),
        attrs.evolve(folder.done, seconds=0.0),
    )


@pytest.fixture(scope="module")
def short(small_benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> StageFolder:
    """An undisturbed UDON stage of 20 steps, loaded by two threads."""
    job = small_job(tmp_path_factory.mktemp("short"), small_spec(), small_benchmark)
    run_stage(job)
    return job.folder


@pytest.fixture(scope="module")
def long(small_benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> StageFolder:
    """An undisturbed UDON stage of 100 steps with the dynamic sampler: log lines, updates and
    validations fall on different steps.
    """
    job = small_job(tmp_path_factory.mktemp("long"), small_spec(**LONG), small_benchmark)
    run_stage(job)
    return job.folder


def test_curve(short: StageFolder) -> None:
    """The total losses of a seeded UDON stage of 20 steps stay as they are; where they change on
    purpose, a version is raised with them: ENGINE_VERSION in udonx/planning/identity.py, the demo's
    GENERATOR_VERSION, or the `version` of the component that changed.
    """
    np.testing.assert_allclose(totals(short), CURVE, rtol=1e-5)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_repeatable(
    short: StageFolder, small_benchmark: Benchmark, tmp_path: Path, workers: int
) -> None:
    """The same config and seed give the same bytes and the same log again, with any number of
    loading threads.
    """
    job = small_job(tmp_path, small_spec(), small_benchmark, workers=workers)
    run_stage(job)
    assert kept(job.folder) == kept(short)


def test_seed_changes_everything(
    short: StageFolder, small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """Another seed gives another curve from the first step on."""
    job = small_job(tmp_path, small_spec(seed=1, steps=2), small_benchmark)
    run_stage(job)
    assert totals(job.folder)[0] != totals(short)[0]


def test_finished_stage_is_not_run_again(
    short: StageFolder, small_benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage with done.json returns it and touches nothing."""
    monkeypatch.setattr(train, "build_model", None)
    before = {file.name: file.stat().st_mtime_ns for file in short.path.iterdir()}
    assert run_stage(small_job(short.path, small_spec(), small_benchmark)) == short.done
    assert before == {file.name: file.stat().st_mtime_ns for file in short.path.iterdir()}
    assert sorted(before) == [
        "best.safetensors",
        "done.json",
        "log.jsonl",
        "model.json",
        "stage.toml",
    ]


@pytest.mark.parametrize("every_step", [False, True])
def test_resume(
    long: StageFolder,
    small_benchmark: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    every_step: bool,
) -> None:
    """A run that is stopped at any step continues to the same weights, log, best step, sampler
    shares and batches as one that is not, from checkpoints at validations and from checkpoints amid
    a window and a log interval.
    """
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    seconds = 0.0 if every_step else 300.0
    whole = Loop._train_step
    stops = sorted(chance.sample(range(1, 100), 3))

    def stopping(self: Loop, step: int, batch: Any) -> None:
        if stops and step >= stops[0]:
            stops.pop(0)
            if chance.random() < 0.5:
                whole(self, step, batch)  # stopped with a step done that no checkpoint knows
            raise Stopped
        whole(self, step, batch)

    monkeypatch.setattr(Loop, "_train_step", stopping)
    spec = small_spec(**LONG)
    while stops:
        with pytest.raises(Stopped):
            run_stage(small_job(tmp_path, spec, small_benchmark, checkpoint_seconds=seconds))
        # what a process that is killed while it writes its log leaves
        with open(tmp_path / "log.jsonl", "a") as log:
            log.write('{"step": 10')
    run_stage(small_job(tmp_path, spec, small_benchmark, workers=1))
    assert kept(StageFolder(tmp_path)) == kept(long)
    shares = [entry["shares"] for entry in long.read_log() if "shares" in entry]
    assert len(shares) == 14 and len({json.dumps(one) for one in shares}) == 14


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


@pytest.mark.parametrize("where", ["loss", "weight"])
def test_not_finite(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A loss or weight that is not finite stops the run in one sentence before anything is kept:
    checkpoint and best weights are good.
    """
    whole = Loop._train_step

    def poisoned(self: Loop, step: int, batch: Any) -> None:
        # the window is updated at 63, the log is due at 60, the validation too
        if where == "loss" and step == 58:
            self.model.student_head.projection.weight.data.fill_(torch.nan)
        whole(self, step, batch)
        if where == "weight" and step == 59:
            self.model.student_head.projection.weight.data[0, 0] = torch.inf

    monkeypatch.setattr(Loop, "_train_step", poisoned)
    job = small_job(tmp_path, small_spec(**LONG), small_benchmark)
    monkeypatch.setattr(Loop, "_end_lap", lambda self: "")  # the log interval may be long
    with pytest.raises(TrainingError, match="not finite") as caught:
        run_stage(job)
    assert "\n" not in str(caught.value)
    state = job.folder.load_state(torch.device("cpu"))
    assert state["step"] == 30 and job.folder.done is None
    for tensors in (state["model"], job.folder.load_best()):
        assert all(value.isfinite().all() for value in tensors.values())


def test_not_finite_at_log_interval(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is not finite stops the run at the next log interval, by name."""
    loop = training(small_job(tmp_path, small_spec(), small_benchmark))
    steps = loop.steps()
    next(steps)
    loop.model.teacher_heads[1].projection.bias.data.fill_(torch.nan)
    with pytest.raises(
        TrainingError,
        match="teacher_ce, kl_logit, relational, total is not finite between steps 1 and 2",
    ):
        next(steps)


def test_corrupt_image(short: StageFolder, small_benchmark: Benchmark, tmp_path: Path) -> None:
    """Where no image may be left out, one that breaks amid a run stops it with the file's name;
    once it is mended, the same command gives the undisturbed result.
    """
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    benchmark = Benchmark.open(root, list(small_benchmark.domains), small_benchmark.fingerprint)
    loop = training(small_job(tmp_path / "look", small_spec(), benchmark))
    job = small_job(tmp_path / "stage", small_spec(), benchmark, checkpoint_seconds=0.0)
    # of an image that is needed for the first time when some steps are done
    seen, path = set(), None
    batches = BatchLoader(benchmark, job.store, DOMAINS, job.spec.transform, 8, 0, 1).batches(
        loop.sampler, 0, 20, {}
    )
    for step, batch in batches:
        if step > 5 and (new := [one for one in batch.ids if one not in seen]):
            path = root / "images" / new[0]
            break
        seen |= set(batch.ids)
    batches.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=path.name):
        run_stage(attrs.evolve(job, store=ImageStore(root, max_unreadable=0)))
    assert job.folder.started
    path.write_bytes(whole)
    run_stage(attrs.evolve(job, store=ImageStore(root)))
    assert kept(job.folder) == kept(short)


def test_unreadable_images_end_no_run(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """Images that cannot be decoded are left out of training and validation, and done.json counts
    and names them; stopped after any step and continued, the stage ends in the same bytes.
    """
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    benchmark = Benchmark.open(root, list(small_benchmark.domains))
    train_path = benchmark.split("logos", "train").paths[3]
    val_path = benchmark.split("glyphs", "val").paths[0]
    for path in (train_path, val_path):
        file = root / "images" / path
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    def job(name: str) -> Job:
        store = ImageStore(root)
        return attrs.evolve(
            small_job(tmp_path / name, small_spec(), benchmark, checkpoint_seconds=0.0), store=store
        )

    done = run_stage(job("whole"))
    assert (done.unreadable.images, done.unreadable.first) == (2, sorted([train_path, val_path]))
    for stop in (1, 7, 19):
        with closing(training(job(f"stop{stop}")).steps()) as steps:
            next(step for step in steps if step == stop)
        continued = job(f"stop{stop}")
        assert continued.folder.started
        assert run_stage(continued).unreadable == done.unreadable
        assert kept(continued.folder) == kept(StageFolder(tmp_path / "whole"))


def test_unreadable_images_are_left_out_of_a_fit(
    small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """A head is fitted on the images that can be decoded, and done.json counts and names the
    others.
    """
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    benchmark = Benchmark.open(root, list(small_benchmark.domains))
    path = benchmark.split("logos", "train").paths[3]
    (root / "images" / path).write_bytes(b"no image")
    spec = small_spec(
        training=None, teacher_head=None, student_head=HeadSpec(use="pca", dim=8), seed=None
    )
    done = run_stage(
        attrs.evolve(small_job(tmp_path / "stage", spec, benchmark), store=ImageStore(root))
    )
    assert (done.unreadable.images, done.unreadable.first) == (1, [path])


@pytest.mark.parametrize("policy", ["drift", "skip"])
def test_inactive_heads(small_benchmark: Benchmark, tmp_path: Path, policy: str) -> None:
    """After its step a domain's head keeps moving by momentum under `drift` and stays bit for bit
    under `skip`, in the loop itself.
    """
    spec = small_spec(optimiser=Optimiser(lr_heads=2e-3, frozen=0, inactive_heads=policy))
    loop = training(small_job(tmp_path, spec, small_benchmark))
    steps = loop.steps()
    own = [
        loop.model.teacher_heads[0],
        loop.model.teacher_classifiers.parts[0],
        loop.model.student_classifiers.parts[0],
    ]
    never = loop.model.teacher_heads[1]
    start = snapshot(never)
    next(steps)
    assert same(start, snapshot(never)), "a head that was never active does not move under either"
    after = [snapshot(part) for part in own]
    next(steps)
    assert [same(before, snapshot(part)) for before, part in zip(after, own, strict=True)] == [
        policy == "skip"
    ] * 3
    steps.close()


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
            raise Stopped
        return save(self, tensors, about)

    stopped: list[bool] = []
    scored(monkeypatch, [0.25, 0.5, 0.4, 0.3])
    monkeypatch.setattr(StageFolder, "save_best", dying)
    job = small_job(tmp_path, small_spec(steps=8, validate_every=2), small_benchmark)
    with pytest.raises(Stopped):
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("when", ["step", "validation"])
def test_a_signal_is_followed_by_a_checkpoint(
    long: StageFolder,
    small_benchmark: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: int,
    when: str,
) -> None:
    """SIGINT and SIGTERM end a stage after the step that is under way, also amid its validation,
    with a checkpoint; the sentence says after which step, the status which signal it was, and the
    stage continues there to the same bytes.
    """
    step, evaluate = Loop._train_step, validation.evaluate

    def signalled(self: Loop, number_of_step: int, batch: Any) -> None:
        if (number_of_step, when) == (41, "step"):
            os.kill(os.getpid(), number)
        step(self, number_of_step, batch)

    def validated(*args: Any, **kwargs: Any) -> Any:
        if when == "validation":
            os.kill(os.getpid(), number)
        return evaluate(*args, **kwargs)

    job, handlers = (
        small_job(tmp_path, small_spec(**LONG), small_benchmark),
        [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)],
    )
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_train_step", signalled)
        patch.setattr(validation, "evaluate", validated)
        with pytest.raises(
            interrupts.Stopped,
            match=f"stopped after step {42 if when == 'step' else 30} of 100; the same command",
        ) as caught:
            run_stage(job)
    assert caught.value.code == code and isinstance(caught.value, KeyboardInterrupt)
    assert job.folder.load_state(torch.device("cpu"))["step"] == (42 if when == "step" else 30)
    assert handlers == [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    run_stage(job)
    assert kept(job.folder) == kept(long)


@pytest.mark.parametrize(
    ("method", "does", "message"),
    [
        (
            "update",
            lambda step, sums: {}[step],
            r"sampler 'dynamic' failed at .*test_train\.py:\d+: KeyError: 7",
        ),
        (
            "update",
            lambda step, sums: None,
            r"sampler 'dynamic' stands still: known_until\(\) is 7 after update\(7\)",
        ),
        (
            "domain_at",
            lambda step: 1 / 0,
            r"sampler 'dynamic' failed at .*test_train\.py:\d+: ZeroDivisionError",
        ),
        (
            "state_dict",
            lambda: {"weights": {"cars": np.float64(1)}},
            r"state_dict\(\)\['weights'\]\['cars'\] is a numpy\.float64",
        ),
    ],
)
def test_a_sampler_that_fails(
    small_benchmark: Benchmark, tmp_path: Path, method: str, does: Any, message: str
) -> None:
    """A sampler that fails, stands still or keeps what no checkpoint can hold ends the stage in one
    sentence; no such checkpoint is written.
    """
    loop = training(
        small_job(tmp_path, small_spec(**LONG), small_benchmark, checkpoint_seconds=0.0)
    )
    setattr(loop.sampler.__wrapped__, method, does)
    with pytest.raises(TrainingError, match=message) as caught:
        loop.run()
    assert "\n" not in str(caught.value)
    assert method == "update" or not loop.job.folder.started


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


class CountSyncs(TorchDispatchMode):
    """Counts what makes the host wait for a device: reading a scalar, and sizes that depend on
    values.
    """

    waiting = frozenset(
        {
            "_local_scalar_dense",
            "nonzero",
            "masked_select",
            "unique_dim",
            "_unique2",
            "equal",
            "is_nonzero",
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in self.waiting:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("scheme", ["udon", "distilled", "classification"])
@pytest.mark.parametrize("policy", ["drift", "skip"])
def test_no_host_sync(
    small_benchmark: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    policy: str,
) -> None:
    """A training step reads nothing back from the device, in any scheme, frozen or not: every sum
    stays there until the log interval.
    """
    common = {
        "steps": 4,
        "batch": 4,
        "optimiser": Optimiser(frozen=2, inactive_heads=policy),
        "validate_every": 4,
    }
    changes, teachers = (
        {
            "udon": {"sampler": dynamic(2)},
            "classification": {"losses": (STUDENT_CE,), "teacher_head": None},
        },
        (),
    )
    if scheme == "distilled":
        earlier = small_spec(student_head=None, losses=(TEACHER_CE,), **common)
        run_stage(small_job(tmp_path / "teacher", earlier, small_benchmark))
        teachers = (StageFolder(tmp_path / "teacher"),)
        changes["distilled"] = {
            "losses": (STUDENT_CE, *PAIR),
            "teacher_head": None,
            "teachers": (TeacherSpec(stage=earlier),),
        }
    loop = training(
        small_job(
            tmp_path / "stage",
            small_spec(**common, **changes[scheme]),
            small_benchmark,
            teachers=teachers,
        )
    )
    calls: list[str] = []
    whole = Loop._train_step

    def watched(self: Loop, step: int, batch: Any) -> None:
        with monkeypatch.context() as patch, CountSyncs() as mode:
            for name in ("item", "cpu", "tolist", "numpy", "__bool__", "__float__", "__int__"):
                original = getattr(torch.Tensor, name)
                patch.setattr(
                    torch.Tensor,
                    name,
                    lambda one, *args, name=name, original=original: (
                        calls.append(name) or original(one, *args)
                    ),
                )
            whole(self, step, batch)
        calls.extend(mode.found)

    monkeypatch.setattr(Loop, "_train_step", watched)
    assert loop.run().steps == 4
    assert calls == []


def driven(loop: Loop, steps: int) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """(steps done, the backbone's state) after each of the first `steps` steps."""
    going = loop.steps()
    for _ in range(steps):
        done = next(going)
        yield done, snapshot(loop.model.backbone)
    going.close()


@pytest.mark.parametrize(("freeze", "held"), [("no_grad", 3), ("zero_lr", 3), ("official", 4)])
def test_frozen_phase(small_benchmark: Benchmark, tmp_path: Path, freeze: str, held: int) -> None:
    """While frozen, no bit of the backbone changes, buffers included; then its parameters move, and
    with `batch_norm = "fixed"` its running statistics never do.
    """
    spec = small_spec(
        optimiser=Optimiser(lr_heads=2e-3, lr_backbone=1e-3, frozen=3, freeze=freeze),
        validate_every=5,
    )
    loop = training(small_job(tmp_path, spec, small_benchmark))
    start = snapshot(loop.model.backbone)
    buffers = {name for name, _ in loop.model.backbone.named_buffers()}
    assert any("running_mean" in name for name in buffers)
    for done, state in driven(loop, 7):
        assert same(state, start) == (done <= held)
        assert all(torch.equal(state[name], start[name]) for name in buffers)
    moved = [
        name for name in start if name not in buffers and not torch.equal(start[name], state[name])
    ]
    assert len(moved) == len(list(loop.model.backbone.named_parameters()))


def test_batch_norm_training(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """With `batch_norm = "training"` running statistics follow the batches, and a validation
    between two steps does not touch them.
    """
    loop = training(
        small_job(
            tmp_path, small_spec(batch_norm="training", steps=4, validate_every=1), small_benchmark
        )
    )
    name = next(name for name, _ in loop.model.backbone.named_buffers() if "running_mean" in name)
    states = [state[name] for _, state in driven(loop, 2)]
    assert not torch.equal(*states)
    job = small_job(
        tmp_path / "seldom",
        small_spec(batch_norm="training", steps=4, validate_every=4),
        small_benchmark,
    )
    assert torch.equal(states[1], [state[name] for _, state in driven(training(job), 2)][1])


def test_bf16(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """Under bf16 only the backbone computes in bf16: heads, losses, parameters and what is kept are
    float32.
    """
    loop = training(
        small_job(
            tmp_path, small_spec(precision="bf16", steps=4, validate_every=4), small_benchmark
        )
    )
    seen: dict[str, set[torch.dtype]] = {"backbone": set(), "heads": set()}
    loop.model.backbone.register_forward_hook(
        lambda module, args, out: seen["backbone"].add(out.dtype)
    )
    for head in (loop.model.student_head, *loop.model.teacher_heads):
        head.register_forward_hook(
            lambda module, args, out: seen["heads"].update({args[0].dtype, out.dtype})
        )
    loop.run()
    assert seen == {"backbone": {torch.bfloat16}, "heads": {torch.float32}}
    assert {
        value.dtype for value in loop.job.folder.load_best().values() if value.is_floating_point()
    } == {torch.float32}
    assert all(np.isfinite(totals(loop.job.folder)))


def test_off_the_shelf(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A stage without training keeps the start weights, and fits a head on the training images
    where it has one.
    """
    plain = small_spec(training=None, student_head=None, teacher_head=None, seed=None)
    assert run_stage(small_job(tmp_path / "plain", plain, small_benchmark)).steps == 0
    head = attrs.evolve(small_spec().student_head, use="pca", dim=8)
    fitted = attrs.evolve(plain, student_head=head)
    done = run_stage(small_job(tmp_path / "fitted", fitted, small_benchmark))
    assert done.images == sum(len(small_benchmark.split(domain, "train")) for domain in DOMAINS)
    ours, theirs = (
        StageFolder(tmp_path / "plain").load_best(),
        StageFolder(tmp_path / "fitted").load_best(),
    )
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items()) and len(
        theirs
    ) > len(ours)


def test_teacher_stage_alone(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A stage of one domain's teacher head trains and validates with the own-domain index, and its
    student may learn from it.
    """
    earlier = small_spec(
        domains=("logos",),
        student_head=None,
        losses=(TEACHER_CE,),
        steps=4,
        validate_every=2,
        sampler=ROUND_ROBIN,
    )
    done = run_stage(small_job(tmp_path / "teacher", earlier, small_benchmark))
    assert done.batches == {"logos": 4} and done.best_r1 is not None
    student = small_spec(
        domains=("logos",),
        teacher_head=None,
        teachers=(TeacherSpec(stage=earlier),),
        losses=(STUDENT_CE, *PAIR),
        steps=2,
        validate_every=2,
    )
    job = small_job(
        tmp_path / "student",
        student,
        small_benchmark,
        teachers=(StageFolder(tmp_path / "teacher"),),
    )
    loop = training(job)
    frozen = snapshot(loop.teachers["logos"])
    loop.run()
    assert same(frozen, snapshot(loop.teachers["logos"])) and same(
        frozen, StageFolder(tmp_path / "teacher").load_best()
    )


def fitted_spec(**changes: Any) -> Any:
    """A stage of no steps whose head is fitted."""
    head = attrs.evolve(small_spec().student_head, use="pca", dim=8)
    return small_spec(
        **{"training": None, "student_head": head, "teacher_head": None, "seed": None, **changes}
    )


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are embedded four at a time."""
    monkeypatch.setattr(protocol, "EMBED_BATCH", 4)


@pytest.mark.parametrize("after", [1, 7, 10])
@pytest.mark.usefixtures("small_batches")
def test_a_fit_goes_on_where_it_was_killed(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """A fit that is killed amid any domain goes on after the images that its checkpoint holds, to
    the same bytes.
    """
    whole = small_job(tmp_path / "whole", fitted_spec(), small_benchmark)
    run_stage(whole)
    job = small_job(tmp_path / "killed", fitted_spec(), small_benchmark, checkpoint_seconds=0.0)
    calls, embed = [], Model.embed

    def counted(self: Model, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(len(args[0]))
        if len(calls) == after + 1:
            raise Stopped
        return embed(self, *args, **kwargs)

    monkeypatch.setattr(Model, "embed", counted)
    with pytest.raises(Stopped):
        run_stage(job)
    assert job.folder.started and run_stage(job).images == sum(calls) - calls[after]
    assert kept(job.folder) == kept(whole.folder) and not job.folder.started


@pytest.mark.usefixtures("small_batches")
def test_a_signal_stops_a_fit(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM ends a fit after the batch that is under way, with a checkpoint."""
    add = Moments.add

    def signalled(self: Moments, features_BF: torch.Tensor) -> Moments:
        if self.count == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return add(self, features_BF)

    monkeypatch.setattr(Moments, "add", signalled)
    job = small_job(tmp_path, fitted_spec(), small_benchmark)
    with pytest.raises(
        interrupts.Stopped,
        match=r"stopped after 12 of \d+ images; the same command continues there",
    ):
        run_stage(job)
    assert sum(job.folder.load_state(torch.device("cpu"))["taken"].values()) == 12


@pytest.mark.usefixtures("small_batches")
def test_a_fit_does_not_hold_the_features(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many images there are, the features of one batch are held at a time."""
    held, embed = [], Model.embed

    def watched(self: Model, *args: Any, **kwargs: Any) -> torch.Tensor:
        assert not any(reference() is not None for reference in held)
        features_BF = embed(self, *args, **kwargs)
        held.append(weakref.ref(features_BF))
        return features_BF

    monkeypatch.setattr(Model, "embed", watched)
    run_stage(small_job(tmp_path, fitted_spec(), small_benchmark))
    assert len(held) > 10


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


def test_too_few_images_for_a_fit(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """Fewer images than components are said in a sentence."""
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    file = root / "info_files" / "logos" / "train.json"
    file.write_text(json.dumps(json.loads(file.read_text())[:3]))
    with pytest.raises(
        TrainingError, match="small: pca: 3 items do not determine 8 principal components"
    ):
        run_stage(small_job(tmp_path, fitted_spec(domains=("logos",)), Benchmark.open(root)))

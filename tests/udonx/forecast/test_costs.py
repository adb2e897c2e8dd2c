"""What work costs on this machine: kinds, keeping, the nearest kind, and what the training loop
measures.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from registry.contracts import (
    BackboneSpec,
    DomainFacts,
    Optimiser,
    StageSpec,
    TeacherSpec,
    Transform,
)
from tests.udonx.engine.small import (
    DOMAINS,
    ROUND_ROBIN,
    STUDENT_CE,
    TEACHER_CE,
    UDON,
    dynamic,
    small_job,
    small_spec,
)
from udonx.common.json_files import read_json
from udonx.data.benchmark import Benchmark
from udonx.engine.device import describe, loading_threads
from udonx.engine.hooks import Lap, Validation
from udonx.engine.job import Job
from udonx.engine.loop import Loop
from udonx.engine.train import prepare, run_stage
from udonx.evaluation.protocol import image_count
from udonx.forecast.costs import (
    Cost,
    StageTimer,
    Timings,
    embed_kind,
    held_steps,
    stage_timers,
    step_kind,
)
from udonx.planning.identity import digest

CPU = "cpu, 2 cores"
NETWORK = small_spec().backbone
THREADS = loading_threads(torch.device("cpu"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def data(classes: int = 100, root: Path = Path("data"), fingerprint: str = "smoke") -> Benchmark:
    """A benchmark that is not there, with so many training classes."""
    benchmark = Benchmark(root, DOMAINS, fingerprint)
    benchmark.facts = (DomainFacts(name=DOMAINS[0], train_images=8, train_classes=classes),)
    return benchmark


def kind(spec: StageSpec, classes: int = 100, backward: bool = True) -> dict[str, Any]:
    return step_kind(spec, data(classes), backward=backward)


def images(spec: StageSpec) -> dict[str, Any]:
    return embed_kind(spec, data())


def stored(cache: Path) -> list[dict[str, Any]]:
    """Every cost in the file."""
    machines = read_json(cache / "timings.json", dict[str, dict[str, Any]])
    return [cost for machine in machines.values() for cost in machine.values()]


# ----------------------------------------------------------------------------------------- kinds


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7},
        {"optimiser": Optimiser(lr_heads=1.0, lr_backbone=0.5, frozen=19)},
        {"steps": 1000, "validate_every": 3},
        {"losses": (attrs.evolve(UDON[0], weight=9.0), *UDON[1:])},
        {"student_head": attrs.evolve(small_spec().student_head, use="mlp")},
        {"backbone": attrs.evolve(NETWORK, weights="ab" * 32, mean=(0.1, 0.2, 0.3))},
        {"sampler": dynamic(2)},
    ],
)
def test_what_costs_nothing_is_not_in_a_kind(changes: dict[str, Any]) -> None:
    """Seeds, rates, budgets, weights of losses, what a head is, start weights and samplers leave a
    kind as it is.
    """
    assert kind(small_spec(**changes)) == kind(small_spec())


@pytest.mark.parametrize(
    "changes",
    [
        {
            "backbone": BackboneSpec(
                use="timm",
                options={"model": "resnet18"},
                weights="random",
                mean=NETWORK.mean,
                std=NETWORK.std,
            )
        },
        {"transform": Transform(resize=36, crop=24)},
        {"transform": Transform(resize=36, crop=32, mode="random_resized_crop")},
        {"batch": 16},
        {"precision": "bf16"},
        {"teachers": (TeacherSpec(stage=small_spec()),)},
        {"classifier": "joint"},
        {"optimiser": Optimiser(frozen=5, inactive_heads="skip")},
    ],
)
def test_what_costs_is_in_a_kind(changes: dict[str, Any]) -> None:
    """Backbone, crop, transform, batch, precision, teachers and classifiers make another kind."""
    assert kind(small_spec(**changes)) != kind(small_spec())


def test_kinds_of_one_stage() -> None:
    """Steps with and without a backward pass and embedded images are three kinds; teachers count by
    what their forward pass costs.
    """
    spec = small_spec()
    assert len({digest(one) for one in (kind(spec), kind(spec, backward=False), images(spec))}) == 3

    def taught(*stages: StageSpec) -> StageSpec:
        return small_spec(teachers=tuple(TeacherSpec(stage=stage) for stage in stages))

    assert (
        kind(taught(spec))
        == kind(taught(spec, small_spec(seed=3)))
        != kind(taught(small_spec(transform=Transform(crop=24))))
    )


def test_classifiers_count_by_their_parameters() -> None:
    """The power of two of classes times dimensions, of the student (16) and of the stage's own
    teachers (32).
    """
    spec = small_spec()
    assert kind(spec, 86) == kind(spec, 170) != kind(spec, 171)
    assert kind(spec)["classifiers"]["bits"] == (4800).bit_length()
    wider = [small_spec(student_head=attrs.evolve(spec.student_head, dim=dim)) for dim in (20, 64)]
    assert kind(wider[0]) == kind(spec) != kind(wider[1])


def test_who_learns_is_in_a_kind() -> None:
    """A student and teachers, teachers alone and a student alone are three kinds, also with as many
    parameters in the classifiers.
    """
    kinds = [
        kind(small_spec()),
        kind(small_spec(student_head=None), 150),
        kind(small_spec(teacher_head=None), 300),
    ]
    assert (
        len({one["classifiers"]["bits"] for one in kinds}) == 1
        and len({digest(one) for one in kinds}) == 3
    )


def test_the_data_are_in_a_kind() -> None:
    """Generated images count by what generated them, wherever they lie; given ones by their folder,
    however it is written.
    """
    spec, here = small_spec(), Path("data")

    def kinds(root: Path, fingerprint: str) -> list[dict[str, Any]]:
        benchmark = data(100, root, fingerprint)
        return [embed_kind(spec, benchmark), step_kind(spec, benchmark, backward=True)]

    assert kinds(here, "smoke") == kinds(Path("elsewhere"), "smoke")
    assert kinds(here, "") == kinds(here.absolute(), "") == kinds(here / ".." / "data", "")
    for other in (kinds(here, "demo"), kinds(here, ""), kinds(Path("elsewhere"), "")):
        assert all(one != another for one, another in zip(kinds(here, "smoke"), other, strict=True))
    assert all(
        one != another
        for one, another in zip(kinds(here, ""), kinds(Path("elsewhere"), ""), strict=True)
    )


@pytest.mark.parametrize(("freeze", "held"), [("no_grad", 5), ("zero_lr", 0), ("official", 0)])
def test_held_steps(freeze: str, held: int) -> None:
    """Only a backbone without gradient is cheaper; a rate of 0 saves nothing."""
    assert held_steps(small_spec(optimiser=Optimiser(frozen=5, freeze=freeze)).training) == held


# --------------------------------------------------------------------------------------- keeping


def test_what_is_kept_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cost is there for the same device of the same machine, and for no other."""
    Timings(CPU).add([(kind(small_spec()), 6.0, 12)])
    assert Timings(CPU).cost(kind(small_spec(seed=5))) == 0.5
    assert Timings(CPU).knows(kind(small_spec())) and not Timings(CPU).knows(images(small_spec()))
    assert Timings("NVIDIA H200").cost(kind(small_spec())) is None
    Timings("NVIDIA H200").add([(kind(small_spec()), 1.0, 100)])
    assert (
        Timings(CPU).cost(kind(small_spec())),
        Timings("NVIDIA H200").cost(kind(small_spec())),
    ) == (0.5, 0.01)
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    assert Timings(CPU).cost(kind(small_spec())) is None


def test_which_measurement_stays(cache: Path) -> None:
    """On one day a shorter measurement does not replace a longer one; on a later day it does.
    Nothing measured changes nothing.
    """
    timings, one = Timings(CPU), kind(small_spec())
    for seconds, count, then in [(10.0, 10, 1.0), (20.0, 10, 2.0), (27.0, 9, 2.0), (0.0, 0, 2.0)]:
        timings.add([(one, seconds, count)])
        assert timings.cost(one) == Timings(CPU).cost(one) == then
    file = cache / "timings.json"
    file.write_text(file.read_text().replace(stored(cache)[0]["day"], "2020-01-01"))
    timings.add([(one, 27.0, 9)])
    assert timings.cost(one) == 3.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        '{"a": 1}',
        '{"a": {"b": {}}}',
        '{"a": {"b": {"kind": {}, "seconds": NaN, "count": 1, "day": "x"}}}',
        "\0",
    ],
)
def test_a_damaged_file_is_no_file(cache: Path, text: str) -> None:
    """Whatever else stands in the file means no estimate, and the next measurement
    writes it anew.
    """
    cache.mkdir()
    (cache / "timings.json").write_text(text)
    assert Timings(CPU).cost(kind(small_spec())) is None
    Timings(CPU).add([(kind(small_spec()), 1.0, 1)])
    assert Timings(CPU).cost(kind(small_spec())) == 1.0


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_benchmark: Benchmark
) -> None:
    """Without a cache nothing is kept and nothing fails: not the timings, not a stage."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path / "file" / "cache"))
    Timings(CPU).add([(kind(small_spec()), 1.0, 1)])
    assert Timings(CPU).cost(kind(small_spec())) is None
    assert run_stage(small_job(tmp_path / "stage", small_spec(steps=2), small_benchmark)).steps == 2


# ------------------------------------------------------------------------------------ estimating


def test_steps_that_differ_in_classifiers_alone_stand_in_for_each_other() -> None:
    """An unknown number of classes counts like the nearest; another batch, other data, frozen steps
    and images have nobody to stand in.
    """
    spec, timings = small_spec(), Timings(CPU)
    timings.add(
        [
            (kind(spec, 10), 1.0, 1),
            (kind(spec, 1000), 2.0, 1),
            (kind(small_spec(classifier="joint"), 1000), 3.0, 1),
        ]
    )
    assert [timings.cost(kind(spec, classes)) for classes in (10, 40, 400, 100_000)] == [
        1.0,
        1.0,
        2.0,
        2.0,
    ]
    assert timings.cost(kind(small_spec(classifier="joint"), 100_000)) == 3.0
    assert not timings.knows(kind(spec, 40))
    other_data = step_kind(spec, data(10, fingerprint="demo"), backward=True)
    for unknown in (
        kind(spec, 10, backward=False),
        kind(small_spec(batch=9), 10),
        other_data,
        images(spec),
    ):
        assert timings.cost(unknown) is None


def test_seconds_of_work() -> None:
    """Units times costs; a part of unknown cost makes the whole unknown, unless there is none of
    it; no work takes no time.
    """
    spec, timings = small_spec(), Timings(CPU)
    frozen, awake, image = kind(spec, backward=False), kind(spec), images(spec)
    timings.add([(frozen, 1.0, 4), (awake, 3.0, 4)])
    assert timings.seconds([(frozen, 80), (awake, 320), (image, 0)]) == 80 * 0.25 + 320 * 0.75
    assert timings.seconds([(frozen, 80), (image, 1)]) is None
    assert timings.seconds([]) == 0.0


# ------------------------------------------------------------------------------------- measuring


def lap(first: int, last: int, seconds: float) -> Lap:
    """A lap whose losses do not matter."""
    return Lap(first=first, last=last, seconds=seconds, total=1.0, losses={})


def test_laps() -> None:
    """The first lap of each kind gives way to later ones, and a lap in which the backbone wakes
    counts for neither.
    """
    timings, spec = Timings(CPU), small_spec()
    timer = StageTimer(timings, spec, data())
    timer.on_lap(lap(0, 2, 50.0))
    timer.on_checkpoint(2)
    assert timings.cost(kind(spec, backward=False)) == 25.0 and timings.cost(kind(spec)) is None
    for first, last, seconds in [
        (2, 4, 2.0),
        (4, 6, 70.0),
        (6, 8, 90.0),
        (8, 10, 6.0),
        (10, 14, 6.0),
    ]:
        timer.on_lap(lap(first, last, seconds))
    for images_seen in (10, 30):
        timer.on_validation(Validation(step=14, result=None, images=images_seen, seconds=1.0))
    timer.on_checkpoint(14)
    costs = [timings.cost(one) for one in (kind(spec, backward=False), kind(spec), images(spec))]
    assert costs == [1.0, 2.0, 0.05]


def counts(spec: StageSpec, benchmark: Benchmark) -> list[int | None]:
    """How many frozen steps, awake steps and images were measured."""
    timings = Timings(describe(torch.device("cpu")))
    kinds = (
        *(step_kind(spec, benchmark, backward=backward) for backward in (False, True)),
        embed_kind(spec, benchmark),
    )
    costs: list[Cost | None] = [timings._costs.get(digest(one)) for one in kinds]
    return [cost and cost.count for cost in costs]


def timed_job(folder: Path, spec: StageSpec, benchmark: Benchmark, **changes: Any) -> Job:
    """A job that keeps its costs, as one of a run does."""
    job = small_job(folder, spec, benchmark, **{"workers": THREADS, **changes})
    return attrs.evolve(job, hooks=stage_timers(spec, benchmark, job.device, job.workers))


def test_a_stage_is_measured(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """Frozen and awake steps, all but each kind's first, and the images of every validation; the
    stage itself holds nothing of it.
    """
    job = timed_job(tmp_path / "stage", small_spec(), small_benchmark)
    run_stage(job)
    assert counts(job.spec, small_benchmark) == [
        4,
        14,
        2 * image_count(small_benchmark, DOMAINS, "val"),
    ]
    assert "timings" not in (job.folder.path / "done.json").read_text()


def test_another_number_of_threads_is_not_measured(
    small_benchmark: Benchmark, tmp_path: Path, cache: Path
) -> None:
    """A stage whose images are loaded by more or fewer threads than usual says nothing of what
    others cost.
    """
    run_stage(
        timed_job(tmp_path / "stage", small_spec(steps=4), small_benchmark, workers=THREADS + 1)
    )
    assert not (cache / "timings.json").exists()


def test_a_resumed_stage_is_measured(
    small_benchmark: Benchmark, tmp_path: Path, cache: Path
) -> None:
    """A process measures the steps that it trains itself, whatever was trained before."""
    job = timed_job(tmp_path / "stage", small_spec(), small_benchmark)
    steps = Loop(job, prepare(job)).steps()
    while next(steps) < 12:
        pass
    steps.close()
    images = image_count(small_benchmark, DOMAINS, "val")
    assert counts(job.spec, small_benchmark) == [4, 4, images]
    (cache / "timings.json").unlink()
    assert run_stage(timed_job(tmp_path / "stage", small_spec(), small_benchmark)).steps == 20
    assert counts(job.spec, small_benchmark) == [None, 9, images]


def test_a_stage_of_teachers_is_measured(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A teacher of one domain and the student of a frozen teacher are kinds of their own."""
    common = {
        "domains": ("logos",),
        "steps": 4,
        "sampler": ROUND_ROBIN,
        "validate_every": 4,
        "optimiser": Optimiser(frozen=0),
    }
    earlier = small_spec(student_head=None, losses=(TEACHER_CE,), **common)
    teacher = timed_job(tmp_path / "teacher", earlier, small_benchmark)
    run_stage(teacher)
    student = small_spec(
        teacher_head=None, teachers=(TeacherSpec(stage=earlier),), losses=(STUDENT_CE,), **common
    )
    run_stage(
        timed_job(
            tmp_path / "student",
            student,
            small_benchmark,
            teachers=(teacher.folder,),
        )
    )
    images = image_count(small_benchmark, ["logos"], "val")
    assert counts(earlier, small_benchmark) == counts(student, small_benchmark) == [None, 3, images]

"""What is left to do, and how `udonx plan` says it."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch

from registry.contracts import Optimiser
from tests.tiny import SETTING, write_domain, write_experiment
from tests.udonx.engine.small import DOMAINS, small_spec
from udonx.config.experiment import load_experiment
from udonx.data.benchmark import Benchmark
from udonx.evaluation.protocol import image_count
from udonx.forecast.costs import Timings, embed_kind, step_kind
from udonx.forecast.listing import Listing
from udonx.forecast.remaining import Workload, evaluation_work, stage_work, workload
from udonx.planning.load import load_plan
from udonx.planning.plan import Plan
from udonx.store.results import Results
from udonx.store.stage import Done

CPU = "cpu, 2 cores"
ROWS = (
    '[rows.a]\nscheme = "classification"\nsampler = "round_robin"\n[rows.pca]\nscheme = { use ='
    ' "off_the_shelf", reduce = "pca" }\n'
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own."""
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A classification of 20 steps of 4 images and a PCA, on two domains of 6 training, 4
    validation and 4 test images each.
    """
    for number, domain in enumerate(("cars", "toys")):
        write_domain(tmp_path / "data", domain, first_class=2 * number)
    return planned(tmp_path, SETTING)


def planned(folder: Path, setting: str) -> Plan:
    """The plan of the rows on the data in a folder."""
    file = write_experiment(folder, setting + ROWS)
    experiment = load_experiment(file, data=folder / "data", overrides=["budget.steps=20"])
    return load_plan(experiment)


def known(todo: Workload) -> Timings:
    """A frozen step takes 1 s, one that is awake 3 s, an image 0.5 s."""
    timings, spec, benchmark = Timings(CPU), todo.stages[0].spec, todo.stages[0].plan.benchmark
    frozen, awake = (step_kind(spec, benchmark, backward=backward) for backward in (False, True))
    timings.add([(frozen, 1.0, 1), (awake, 3.0, 1), (embed_kind(spec, benchmark), 0.5, 1)])
    return timings


@pytest.mark.parametrize(
    ("done", "frozen", "awake", "validations"),
    [(0, 5, 15, 4), (3, 2, 15, 4), (6, 0, 14, 3), (7, 0, 13, 3), (18, 0, 2, 1), (20, 0, 0, 1)],
)
def test_work_of_a_stage(
    small_benchmark: Benchmark, done: int, frozen: int, awake: int, validations: int
) -> None:
    """Frozen steps, then awake ones, a validation every six steps and the last before the end: what
    is left of them after `done` steps.
    """
    spec, images = small_spec(validate_every=6), image_count(small_benchmark, DOMAINS, "val")
    work = [
        (kind["unit"], kind.get("backward"), count)
        for kind, count in stage_work(spec, small_benchmark, done)
    ]
    expected = [
        ("step", False, frozen),
        ("step", True, awake),
        ("image", None, validations * images),
    ]
    assert work == [part for part in expected if part[2]]


def test_a_rate_of_zero_is_no_frozen_step(small_benchmark: Benchmark) -> None:
    """Where the backbone only has a rate of 0, every step costs the same."""
    spec = small_spec(optimiser=Optimiser(frozen=5, freeze="official"))
    assert [
        count for kind, count in stage_work(spec, small_benchmark) if kind["unit"] == "step"
    ] == [20]


def test_the_estimate_adds_up(plan: Plan, tmp_path: Path) -> None:
    """Steps, validations, the images that a PCA is fitted on, and the evaluations: 4 + 16 x 3 + 4 x
    8 x 0.5, 12 x 0.5, 2 x 8 x 0.5 s.
    """
    todo = workload([plan], Results(tmp_path / "none"))
    lines = str(Listing(todo, known(todo))).split("\n")
    assert [stage.steps for stage in todo.stages] == [20, 0]
    assert " student " in lines[1] and " 68 s  a" in lines[1] and " 6 s  pca" in lines[2]
    total = (
        "2 stages, 0 already trained; left to train: 2 stages, 20 steps, 80 images, about 82 s on"
        " cpu, 2 cores (evaluations included)"
    )
    assert lines[3:] == [total]
    assert not (tmp_path / "none").exists()


def test_what_nobody_knows_is_said_in_one_line(plan: Plan, tmp_path: Path) -> None:
    """Without any measurement there is no time; with the images' alone, a lower bound and what it
    leaves out.
    """
    todo, timings = workload([plan], Results(tmp_path)), Timings(CPU)
    *_, unknown, total = str(Listing(todo, timings)).split("\n")
    assert unknown.startswith(
        "no estimate for 2 stages (marked ?) and 2 evaluations: nothing like that has run on this"
        " machine (cpu, 2"
    )
    assert "`udonx plan ... --measure`" in unknown and total.endswith("20 steps, 80 images")
    timings.add([(embed_kind(todo.stages[0].spec, plan.benchmark), 0.5, 1)])
    _, first, _, unknown, total = str(Listing(todo, timings)).split("\n")
    assert " ?  a" in first and unknown.startswith("no estimate for 1 stage (marked ?): ")
    assert total.endswith("80 images, more than 14 s on cpu, 2 cores (evaluations included)")


def test_what_is_there_takes_no_time(plan: Plan, tmp_path: Path) -> None:
    """A trained stage has no time left, one that was stopped what is left after the last step of
    its log; --fresh does all again.
    """
    results = Results(tmp_path / "results")
    whole = workload([plan], results)
    folder = results.stage(whole.stages[0].id)
    folder.path.mkdir(parents=True)
    (folder.path / "state.pt").touch()
    for step in (9, 10):
        folder.log({"step": step})
    started = workload([plan], results)
    assert (
        started.stages[0].state,
        started.stages[0].steps_left,
        started.stages[0].images_left,
    ) == ("started", 10, 40)
    # ten awake steps and the validations after steps 10, already made, 15 and 20
    assert [count for _, count in started.stages[0].work] == [10, 2 * 8]
    assert " started " in str(Listing(started, known(whole))).split("\n")[1]
    folder.finish(
        Done(
            steps=20,
            images=80,
            seconds=1.0,
            best_step=20,
            best_r1=0.5,
            weights=folder.save_best({"a": torch.ones(1)}),
        )
    )
    trained = workload([plan], results)
    lines = str(Listing(trained, known(whole))).split("\n")
    assert (trained.stages[0].state, trained.stages[0].work) == (
        "trained",
        [],
    ) and " -  a" in lines[1]
    assert "1 already trained; left to train: 1 stage, 0 steps, 0 images, about 14 s" in lines[-1]
    assert workload([plan], results, fresh=True) == whole


def test_stages_of_several_plans_come_once(plan: Plan, tmp_path: Path) -> None:
    """A stage that two files need is there once, named with both, and its evaluation too."""
    todo = workload([plan, plan], Results(tmp_path))
    assert [stage.users for stage in todo.stages] == [
        ["table.a", "table.a"],
        ["table.pca", "table.pca"],
    ]
    assert len(todo.evaluations) == 2
    assert "(shared) table.a, table.a" in str(Listing(todo, Timings(CPU)))


def test_plans_of_other_domains_keep_their_own(plan: Plan, tmp_path: Path) -> None:
    """Of two files on one folder, one with a domain less, each counts its own domains, whichever
    comes first.
    """
    setting = SETTING.replace('source = "uned"', 'source = "uned"\ndomains = ["cars"]')
    results, cars = Results(tmp_path / "results"), planned(tmp_path, setting)
    alone = {
        stage.id: stage.work for one in (cars, plan) for stage in workload([one], results).stages
    }
    assert len(alone) == 4
    for plans in ([cars, plan], [plan, cars]):
        assert {stage.id: stage.work for stage in workload(plans, results).stages} == alone


def test_a_flip_embeds_every_test_image_twice(plan):
    """The same kind of work, twice as much of it."""
    spec = plan.rows[0].evaluations[0].spec
    flipped = evaluation_work(attrs.evolve(spec, tta="flip"), plan.benchmark)
    once = evaluation_work(spec, plan.benchmark)
    assert flipped == [(kind, 2 * count) for kind, count in once]

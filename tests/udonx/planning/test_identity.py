"""The identity of a stage: what changes it and what does not."""

from __future__ import annotations

import json
import shutil

import attrs
import pytest

from registry import losses
from registry.contracts import InitSpec, Optimiser, StageSpec, TeacherSpec
from tests.tiny import SETTING, write_domain, write_experiment, write_split
from tests.udonx.engine.small import small_job, small_spec
from udonx.config.experiment import load_experiment
from udonx.data.benchmark import Benchmark
from udonx.engine.train import run_stage
from udonx.inputs.open import open_benchmark, resolve_weights
from udonx.planning import identity as stages
from udonx.planning.plan import Identities, Plan, make_plan
from udonx.store.stage import StageFolder

ROWS = """
[defaults]
sampler = "round_robin"
[rows.a]
scheme = "udon"
[rows.b]
scheme = "separate_teachers"
"""


def plan(folder, rows: str = ROWS, **options) -> Plan:
    """The plan of rows on the benchmark in `folder`/data."""
    file = write_experiment(folder, SETTING + rows, options.pop("name", "table.toml"))
    experiment = load_experiment(file, data=folder / "data", **options)
    return make_plan(experiment, open_benchmark(experiment), resolve_weights(experiment))


@pytest.fixture
def data(tmp_path):
    """Two healthy domains."""
    write_domain(tmp_path / "data", "cars")
    write_domain(tmp_path / "data", "food", first_class=5)
    return tmp_path


def ids(planned: Plan) -> list[tuple[str, ...]]:
    """Stage ids, row by row."""
    return [row.stages for row in planned.rows]


def test_a_spec_survives_plain_data(data):
    """Through JSON and back a stage is equal, teachers, cadences and shares included, and no None
    is written.
    """
    for spec in plan(data).stages.values():
        plain = json.loads(json.dumps(stages.to_plain(spec)))
        assert stages.from_plain(plain) == spec
        assert "null" not in json.dumps(plain)


def test_an_option_of_none_changes_no_identity(data):
    """None is left out of the canonical form, so that a later option that defaults to None keeps
    old stages.
    """
    spec = next(iter(plan(data).stages.values()))
    assert stages.to_plain(attrs.evolve(spec, teacher_head=None)).keys() == stages.to_plain(
        spec
    ).keys() - {"teacher_head"}


def test_names_labels_and_places_change_no_identity(data):
    """The names of row and file, a label and where the data lies are no part of it."""
    renamed = ROWS.replace("[rows.a]", '[rows.x]\nlabel = "other"').replace("[rows.b]", "[rows.y]")
    assert ids(plan(data, renamed, name="other.toml")) == ids(plan(data))
    (data / "data").rename(data / "moved")
    before = ids(plan_at(data, "moved"))
    (data / "moved").rename(data / "data")
    assert before == ids(plan(data))


def plan_at(folder, name: str) -> Plan:
    """As `plan`, with the benchmark in another folder."""
    experiment = load_experiment(write_experiment(folder, SETTING + ROWS), data=folder / name)
    return make_plan(experiment, open_benchmark(experiment), resolve_weights(experiment))


def test_the_seed_and_every_option_change_it(data):
    """Another seed, a weight, an option of a component, a step of the budget or a frozen share is
    another stage.
    """
    known = set(plan(data).stages)
    changes = (
        "losses.student_ce.weight=2.0",
        "losses.student_ce.scale=8.0",
        "budget.steps=6",
        "optimiser.frozen=2",
        "student_head.dim=5",
    )
    for change in changes:
        assert plan(data, overrides=[change]).rows[0].stages[0] not in known, change
    assert not known & set(plan(data, seeds=[1]).stages)


def test_it_covers_the_data_of_its_own_domains(data):
    """Class ids and a validation file change the stages that read them; another domain's teacher
    and the test files change nothing.
    """
    before = plan(data)
    titles = {
        spec.domains: identity
        for identity, spec in before.stages.items()
        if spec.student_head is None
    }

    def teachers() -> dict:
        return {
            spec.domains: identity
            for identity, spec in plan(data).stages.items()
            if spec.student_head is None
        }

    write_split(data / "data", "cars", "test", [0, 0, 0, 1, 1])
    assert ids(plan(data)) == ids(before)
    assert [row.evaluations[0].id for row in plan(data).rows] != [
        row.evaluations[0].id for row in before.rows
    ]
    write_split(data / "data", "cars", "val", [0, 1, 0, 1])
    assert (teachers()["cars",] != titles["cars",], teachers()["food",] == titles["food",]) == (
        True,
        True,
    )
    assert ids(plan(data))[0] != ids(before)[0]
    after_val = teachers()["cars",]
    write_split(data / "data", "cars", "train", [0, 0, 0, 2, 2, 2])
    assert teachers()["cars",] not in (after_val, titles["cars",])


def test_no_stage_looks_at_test_files(data, tmp_path):
    """Selecting on test is impossible: the same stage, with the same identity, trains the same
    where there are no test files at all.
    """
    jobs = {}
    for name in ("whole", "without"):
        root = tmp_path / name
        shutil.copytree(data / "data", root)
        if name == "without":
            for file in root.glob("info_files/*/test.json"):
                file.unlink()
            for image in root.glob("images/*/test_*.png"):
                image.unlink()
        benchmark = Benchmark.open(root)
        stage = small_spec(
            domains=benchmark.domains,
            steps=2,
            batch=4,
            validate_every=1,
            optimiser=Optimiser(frozen=0),
        )
        folder = tmp_path / f"{name}_stage"
        run_stage(small_job(folder, stage, benchmark))
        identity = Identities(benchmark).stage(stage)
        jobs[name] = (
            identity,
            (folder / "best.safetensors").read_bytes(),
            StageFolder(folder).done.best_r1,
        )
    assert jobs["whole"] == jobs["without"]


def test_a_component_of_another_version_is_another_stage(data, monkeypatch):
    """An author who raises a component's version invalidates what was trained with it, and only
    that.
    """
    before = plan(data)
    losses.get("kl_logit")
    monkeypatch.setitem(losses.registry._versions, "kl_logit", 2)
    monkeypatch.setattr(losses.registry, "_described", {})
    after = plan(data)
    (udon_before, separate_before), (udon_after, separate_after) = ids(before), ids(after)
    assert udon_before != udon_after
    assert separate_before[:2] == separate_after[:2] and separate_before[2] != separate_after[2]


def test_the_engines_version_is_part_of_it(data, monkeypatch):
    """Raising the engine's version makes every stage another."""
    before = set(plan(data).stages)
    monkeypatch.setattr(stages, "ENGINE_VERSION", stages.ENGINE_VERSION + 1)
    assert not before & set(plan(data).stages)


def test_a_students_identity_follows_its_teachers(data):
    """A change in one teacher's data reaches the student through the teacher's id."""
    spec = plan(data).stages[ids(plan(data))[1][-1]]
    assert isinstance(spec, StageSpec) and len(spec.teachers) == 2
    manifests = {"cars": "1", "food": "2"}
    first = stages.stage_id(spec, manifests.get)
    stage = attrs.evolve(spec.teachers[0].stage, seed=9)
    teachers = (TeacherSpec(stage=stage), spec.teachers[1])
    assert stages.stage_id(attrs.evolve(spec, teachers=teachers), manifests.get) != first


def test_a_teacher_that_says_nothing_else_is_written_as_its_stage(data):
    """A student's plain form holds its teachers' stages themselves, as it did before teachers had
    a spec of their own; such a form is read.
    """
    spec = plan(data).stages[ids(plan(data))[1][-1]]
    plain = stages.to_plain(spec)
    assert plain["teachers"] == [stages.to_plain(teacher.stage) for teacher in spec.teachers]
    assert stages.from_plain(plain).teachers == spec.teachers


def test_a_teachers_name_and_domains_are_part_of_its_students_identity(data):
    """A name or domains of its own make another student, and survive plain data."""
    spec = plan(data).stages[ids(plan(data))[1][-1]]
    manifests = {"cars": "1", "food": "2"}
    first, second = spec.teachers
    students = [
        spec,
        attrs.evolve(spec, teachers=(attrs.evolve(first, name="old"), second)),
        attrs.evolve(spec, teachers=(attrs.evolve(first, domains=("cars",)), second)),
    ]
    assert len({stages.stage_id(student, manifests.get) for student in students}) == 3
    for student in students:
        plain = json.loads(json.dumps(stages.to_plain(student)))
        assert stages.from_plain(plain) == student and "null" not in json.dumps(plain)


def test_an_init_is_part_of_the_identity(data):
    """The init, its options and what its sources are make another stage, and survive plain data;
    a source's data reach it too.
    """
    source, spec = (plan(data).stages[ids(plan(data))[1][place]] for place in (0, -1))
    manifests = {"cars": "1", "food": "2"}
    init = InitSpec(use="average", options={"weights": [1.0]}, stages=(source,))
    students = [
        spec,
        attrs.evolve(spec, init=init),
        attrs.evolve(spec, init=attrs.evolve(init, use="same", options={})),
        attrs.evolve(spec, init=attrs.evolve(init, options={"weights": [2.0]})),
        attrs.evolve(spec, init=attrs.evolve(init, stages=(attrs.evolve(source, seed=9),))),
        attrs.evolve(spec, init=attrs.evolve(init, stages=(source, source))),
    ]
    assert len({stages.stage_id(student, manifests.get) for student in students}) == 6
    for student in students:
        plain = json.loads(json.dumps(stages.to_plain(student)))
        assert stages.from_plain(plain) == student and "null" not in json.dumps(plain)
    alone = attrs.evolve(students[1], domains=("food",), teachers=())
    first, other = (stages.stage_id(alone, {**manifests, "cars": c}.get) for c in "12")
    assert source.domains == ("cars",) and first != other

"""A stage's teachers: each of its domains has exactly one."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.tiny import SETTING, write_domain, write_experiment
from udonx.config.experiment import load_experiment
from udonx.config.problems import ConfigError
from udonx.inputs.open import open_benchmark, resolve_weights
from udonx.planning.plan import Plan, make_plan
from udonx.planning.stages import with_earlier

SCHEME = """
import attrs
from registry import schemes
from registry.contracts import TeacherSpec
from registry.schemes.separate_teachers import SeparateTeachers

@schemes.register("{name}")
class Mine(SeparateTeachers):
    \"\"\"Separate teachers, changed.\"\"\"

    def plan(self, row, facts):
        (evaluation,) = super().plan(row, facts)
        student = evaluation.embedders["cars"]
        cars, food = student.teachers
        student = attrs.evolve(student, teachers={teachers})
        return (attrs.evolve(evaluation, embedders=dict.fromkeys(evaluation.embedders, student)),)
"""

_number = itertools.count()


def plan(folder: Path, teachers: str) -> Plan:
    """The plan of one row on the domains cars and food, whose student has `teachers`: Python code
    over the separate teachers `cars` and `food`.
    """
    for first_class, domain in enumerate(("cars", "food")):
        write_domain(folder / "data", domain, first_class=5 * first_class)
    name = f"taught_{next(_number)}"
    (folder / f"{name}.py").write_text(SCHEME.format(name=name, teachers=teachers))
    rows = f'[rows.a]\nscheme = "{name}"\nsampler = "round_robin"\n'
    file = write_experiment(folder, f'plugins = ["{name}.py"]\n{SETTING}{rows}')
    experiment = load_experiment(file, data=folder / "data")
    benchmark = open_benchmark(experiment)
    return make_plan(experiment, benchmark, resolve_weights(experiment))


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        (
            "(cars, food, TeacherSpec(stage=attrs.evolve(cars.stage, seed=9)))",
            r"row a: scheme: 'taught_\d+' plans 'student' with 2 teachers of domain 'cars' \("
            r"teacher of cars, teacher of cars\); allowed is exactly one for each domain",
        ),
        (
            "(cars,)",
            r"row a: scheme: 'taught_\d+' plans 'student' without a teacher of domain 'food' \(its"
            r" teachers: teacher of cars\); allowed is exactly one for each domain",
        ),
        (
            "(TeacherSpec(stage=cars.stage, domains=('cars', 'food')),)",
            r"with a teacher of domain 'food' \(teacher of cars\) that was not trained on it;"
            r" allowed in its TeacherSpec.domains are cars",
        ),
        (
            "(cars, food, TeacherSpec(stage=food.stage, name='old'))",
            r"with a teacher named 'old' \(teacher of food\), which no loss asks for;"
            r" allowed are teachers without a name",
        ),
        ("(cars.stage, food)", r"'taught_\d+' cannot plan this row: AttributeError: 'StageSpec'"),
    ],
)
def test_teachers_that_do_not_fit_their_student_are_refused(
    tmp_path: Path, teachers: str, message: str
) -> None:
    """A domain with two teachers or none, a teacher of a domain that it does not know, one that
    nothing can ask for and one that is no TeacherSpec are each one sentence of the row.
    """
    with pytest.raises(ConfigError, match=message) as caught:
        plan(tmp_path, teachers)
    assert len(caught.value.problems) == 1


def test_domains_say_who_teaches_what(tmp_path: Path) -> None:
    """A teacher that is limited to its `domains` leaves the others to another one."""
    both = "attrs.evolve(cars.stage, domains=('cars', 'food'), seed=9)"
    planned = plan(tmp_path, f"(TeacherSpec(stage={both}, domains=('cars',)), food)")
    student = planned.rows[0].evaluations[0].spec.embedders["cars"]
    assert [teacher.taught_domains for teacher in student.teachers] == [("cars",), ("food",)]
    assert [stage.domains for stage in with_earlier(student)] == [
        ("cars", "food"),
        ("food",),
        ("cars", "food"),
    ]

"""Rows that a grid makes: their names, labels, layers and ids, and what is wrong with grids."""

from __future__ import annotations

import pytest

from tests.tiny import write_experiment
from tests.udonx.config.loading import load, problems
from udonx.config.experiment import load_experiment
from udonx.config.show import to_toml
from udonx.planning.load import load_plan

HEAD = """
setting = "smoke"
[defaults]
scheme = "classification"
sampler = "uniform"
"""
GRID = f"""{HEAD}
[rows.base]
[rows.arc]
label = "ArcFace"
losses.student_ce.margin = "arcface"
[rows.arc.grid]
losses.student_ce.m = [0.1, 0.3]
student_head.dim = [32, 64]
"""
BY_HAND = f"""{HEAD}
[rows.base]
""" + "".join(
    f"[rows.arc_m_{str(m).replace('.', '_')}_dim_{dim}]\n"
    f'label = "ArcFace, m {m}, dim {dim}"\n'
    f'losses.student_ce = {{ margin = "arcface", m = {m} }}\nstudent_head.dim = {dim}\n'
    for m in (0.1, 0.3)
    for dim in (32, 64)
)
MADE = ["arc_m_0_1_dim_32", "arc_m_0_1_dim_64", "arc_m_0_3_dim_32", "arc_m_0_3_dim_64"]


def names(experiment) -> list[str]:
    """The names of an experiment's rows."""
    return [row.name for row in experiment.rows]


def test_a_grid_makes_the_rows_that_somebody_would_write_by_hand(tmp_path):
    """Names, labels and keys are those of rows written one by one, and so are the stages' ids."""
    made, by_hand = load(tmp_path / "a", GRID), load(tmp_path / "b", BY_HAND)
    assert names(made) == ["base", *MADE]
    assert [(row.name, row.label, row.data) for row in made.rows] == [
        (row.name, row.label, row.data) for row in by_hand.rows
    ]
    plans = [load_plan(experiment) for experiment in (made, by_hand)]
    assert list(plans[0].stages) == list(plans[1].stages)
    assert len(plans[0].stages) == 5


def test_what_show_prints_of_a_grid_stands_alone(tmp_path):
    """The resolved file has plain rows, and they resolve to the same."""
    experiment = load(tmp_path, GRID)
    text = to_toml(experiment)
    assert "grid" not in text
    again = load_experiment(write_experiment(tmp_path / "elsewhere", text))
    assert [row.data for row in again.rows] == [row.data for row in experiment.rows]


def test_the_name_of_a_grid_stands_for_all_its_rows(tmp_path):
    """`--row` and `--set` take the name of a made row, or that of the grid for all of them."""
    text = "rows.arc.normalise_total=false"
    experiment = load(tmp_path, GRID, rows=["arc"], overrides=[text])
    assert [row.name for row in experiment.wanted_rows()] == list(experiment.selected) == MADE
    assert [row.spec.recipe.normalise_total for row in experiment.rows] == [True, *[False] * 4]
    one = load(tmp_path, GRID, rows=MADE[:1], overrides=[f"rows.{MADE[0]}.student_head.dim=8"])
    assert [row.spec.student_head.dim for row in one.wanted_rows()] == [8]
    assert "did you mean 'arc'" in problems(tmp_path, GRID, rows=["arcs"])


def test_grids_are_inherited_and_made_for_each_role(tmp_path):
    """A later list of a key counts; made rows may be changed, left out, and are there per role."""
    write_experiment(tmp_path, GRID, "parent.toml")
    text = """
inherit = "parent.toml"
roles = ["main", "large"]
[rows]
base = false
arc.grid.student_head.dim = [16]
arc_m_0_1_dim_16.label = "changed"
large_arc_m_0_3_dim_16 = false
"""
    experiment = load(tmp_path, text, rows=["large_arc"])
    assert [(row.name, row.label, row.backbone) for row in experiment.rows] == [
        ("arc_m_0_1_dim_16", "changed", "main"),
        ("arc_m_0_3_dim_16", "ArcFace, m 0.3, dim 16", "main"),
        ("large_arc_m_0_1_dim_16", "large: changed", "large"),
    ]
    assert experiment.selected == ("large_arc_m_0_1_dim_16",)
    plain = load(tmp_path, 'inherit = "parent.toml"\nrows.arc.grid = false\n')
    assert names(plain) == ["base", "arc"]
    without = load(tmp_path, 'inherit = "parent.toml"\nrows.arc = false\n')
    assert names(without) == ["base"]


def test_lists_of_one_name_are_told_apart(tmp_path):
    """Two keys that end alike are called by their whole path, and braces stay braces."""
    text = f"""{HEAD}scheme.use = "udon"
[rows.a]
label = "{{domains}} domains"
grid.student_head.dim = [32]
grid.teacher_head.dim = [8]
""".replace('scheme = "classification"\n', "")
    (row,) = load(tmp_path, text).rows
    assert row.name == "a_student_head_dim_32_teacher_head_dim_8"
    assert row.label == "{domains} domains, student head dim 32, teacher head dim 8"


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("grid = 3", "rows.a.grid: got 3, allowed are lists of values, KEY = [...]"),
        ("grid = {}", "rows.a.grid: got {  }, allowed are lists of values, KEY = [...]"),
        (
            "grid.student_haed.dim = [8]",
            "grid.student_haed: got { dim = 8 }, but this is an unknown",
        ),
        ("grid.student_head.dim = []", "grid.student_head.dim: got [], allowed is a list of one"),
        ("grid.student_head.dim = 8", "grid.student_head.dim: got 8, allowed is a list of one"),
        ("grid.student_head.dim = [0]", "grid.student_head.dim: got 0, allowed is int > 0"),
        ("grid.student_head.dim = [8, 8]", "got [8, 8], allowed is each value once"),
        ('grid.sampler = [{ use = "uniform" }]', "allowed are no tables in a list"),
        ('grid.label = ["x"]', "but this key says how a row is shown"),
        (f"grid.budget.steps = {list(range(1, 102))}", "makes 101 rows, allowed are 100"),
        ('grid = { student_head.dim = [8], "student_head.dim" = [9] }', "has two lists; keep one"),
        (
            'grid = { student_head = ["linear"], "student_head.dim" = [9] }',
            "grid.student_head.dim: has a list, and so has 'student_head' around it; keep one",
        ),
        (
            'grid.sampler = ["a b", "a-b", "a_b"]',
            "rows.a.grid: makes a row 'a_sampler_a_b', as another grid or value does; rename one",
        ),
    ],
)
def test_what_is_wrong_with_a_grid_is_said_with_its_place(tmp_path, grid, message):
    """Each sentence names the file, the key, what was got and what is allowed."""
    report = problems(tmp_path, f"{HEAD}[rows.a]\n{grid}\n")
    assert f"table.toml: {message if message.startswith('rows') else ''}" in report
    assert message in report


def test_all_mistakes_of_grids_are_said_at_once(tmp_path):
    """A list that is wrong hides neither other lists nor other rows, and each is said once."""
    text = f"""{HEAD}
[rows.a.grid]
student_head.dim = [0, 8]
sampler = []
losses.student_ce.wieght = [1.0]
[rows.b]
optimiser.nothing = 1
"""
    report = problems(tmp_path, text)
    assert report.startswith("4 problems")
    for place in ("student_head.dim: got 0", "sampler: got []", "losses.student_ce.wieght: got 1"):
        assert report.count(f"table.toml: rows.a.grid.{place}") == 1

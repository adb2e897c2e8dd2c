"""Rows that start from rows: names, circles, roles, grids, and rows that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import write_experiment
from tests.udonx.config.loading import load, problems
from udonx.config.experiment import load_experiment
from udonx.config.show import to_toml

DEFAULTS = '[defaults]\nscheme = "udon"\nsampler = "uniform"\n'


def same(name: str) -> str:
    """The init of a row that continues another."""
    return f'init = {{ use = "same", from = "{name}" }}\n'


CHAIN = f"{DEFAULTS}[rows.first]\n[rows.second]\n{same('first')}[rows.third]\n{same('second')}"


def sources(experiment) -> dict[str, tuple[str, ...]]:
    """The rows that each row starts from."""
    return {row.name: row.sources for row in experiment.rows if row.sources}


def test_a_row_names_rows(tmp_path: Path) -> None:
    """`from` is a name or a list of names."""
    soup = 'scheme = "as_is"\ninit = { use = "average", from = ["first", "third"] }\n'
    assert sources(load(tmp_path, f"{CHAIN}[rows.soup]\n{soup}")) == {
        "second": ("first",),
        "third": ("second",),
        "soup": ("first", "third"),
    }


def test_a_selected_row_needs_those_that_it_starts_from(tmp_path: Path) -> None:
    """`--row` shows the row alone, and needs all rows that it starts from, through others too."""
    experiment = load(tmp_path, f"{CHAIN}[rows.other]\n", rows=["third"])
    assert [row.name for row in experiment.wanted_rows()] == ["third"]
    assert [row.name for row in experiment.needed_rows()] == ["first", "second", "third"]


def test_a_head_is_fitted_on_a_trained_row(tmp_path: Path) -> None:
    """A row that trains nothing may fit a head on the backbone that it starts from; one that trains
    may not.
    """
    head = 'student_head.use = "lda"\n'
    (row,) = load(tmp_path, f'{CHAIN}[rows.refit]\nscheme = "as_is"\n{same("third")}{head}').rows[
        3:
    ]
    assert row.spec.student_head.use == "lda" and row.spec.student_head.options["shrinkage"] == 0.75
    wrong = problems(tmp_path, f"{CHAIN}[rows.more]\n{same('third')}{head}")
    assert "scheme 'udon' needs a head that is trained: linear, mlp" in wrong


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{DEFAULTS}[rows.a]\n{same('frist')}[rows.first]\n",
            "row a: init.from: got \"frist\", which is an unknown row; did you mean 'first'?",
        ),
        (
            f"{DEFAULTS}[rows.a]\n{same('b')}[rows.b]\n{same('a')}",
            "row a: init.from: the rows a -> b -> a start or learn from each other in a circle;"
            " break it somewhere",
        ),
        (f"{DEFAULTS}[rows.a]\n{same('a')}", "the rows a -> a start or learn from each other"),
        (f'{DEFAULTS}[rows.a]\ninit = "same"\n[rows.b]\n', "row a: init.from: is missing"),
        (
            '[rows.a]\nscheme = "as_is"\n[rows.b]\nscheme = "udon"\nsampler = "uniform"\n',
            "row a: init: is missing, but scheme 'as_is' trains nothing; say what it takes over",
        ),
        (
            f'[defaults]\nsampler = "uniform"\n[rows.a]\nscheme = "udon"\n[rows.b]\nscheme ='
            f' "separate_teachers"\nevaluate = ["teacher"]\n{same("a")}',
            "row b: init: starts the student's stage, but with scheme 'separate_teachers' and"
            ' evaluate = ["teacher"] there is none',
        ),
        (
            f'{DEFAULTS}[rows.a]\n[rows.b]\nscheme = "specialists"\n{same("a")}',
            "but scheme 'specialists' has no slot for it",
        ),
    ],
)
def test_what_cannot_be_is_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    """Unknown names, circles, and inits that start nothing are named with the other problems."""
    assert message in problems(tmp_path, text)


def test_all_circles_and_names_are_found_at_once(tmp_path: Path) -> None:
    """Two circles and an unknown name are three problems."""
    pairs = "".join(f"[rows.{a}]\n{same(b)}" for a, b in ("ab", "ba", "cd", "dc", "ex"))
    assert problems(tmp_path, DEFAULTS + pairs).startswith("3 problems")


def test_a_row_that_another_starts_from_may_not_be_left_out(tmp_path: Path) -> None:
    """`NAME = false` on a row that another one names is a problem that names both."""
    write_experiment(tmp_path, f'setting = "smoke"\n{CHAIN}', "above.toml")
    text = 'inherit = "above.toml"\nsetting = "smoke"\n[rows]\nfirst = false\n'
    found = problems(tmp_path, text)
    assert 'row second: init.from: got "first", which ' in found
    assert "leaves out (rows.first = false); keep it" in found


def test_roles_pair_the_rows_of_one_role(tmp_path: Path) -> None:
    """With `roles`, the row of a role starts from the row of that role, where there is one."""
    text = (
        f'roles = ["main", "large"]\n{CHAIN}[rows.fixed]\nbackbone = "main"\n'
        f"[rows.tuned]\n{same('fixed')}"
    )
    assert sources(load(tmp_path, text)) == {
        "second": ("first",),
        "third": ("second",),
        "tuned": ("fixed",),
        "large_second": ("large_first",),
        "large_third": ("large_second",),
        "large_tuned": ("fixed",),
    }


def test_a_grid_stands_for_all_of_its_rows(tmp_path: Path) -> None:
    """The name of a row with a grid in `from` stands for the rows that it makes."""
    text = (
        f"{DEFAULTS}[rows.sweep.grid]\noptimiser.lr_heads = [0.1, 0.2]\n"
        '[rows.soup]\nscheme = "as_is"\ninit = { use = "average", from = "sweep" }\n'
        f'[rows.next]\n{same("")}[rows.next.grid]\n"init.from" = ["soup", "sweep_lr_heads_0_1"]\n'
    )
    found = sources(load(tmp_path, text))
    assert found["soup"] == ("sweep_lr_heads_0_1", "sweep_lr_heads_0_2")
    assert found["next_from_soup"] == ("soup",)
    assert found["next_from_sweep_lr_heads_0_1"] == ("sweep_lr_heads_0_1",)


def test_a_row_is_skipped_with_the_row_that_it_starts_from(tmp_path: Path) -> None:
    """Where the setting lacks the backbone of a row, those that start from it are skipped too."""
    chain = f"[rows.b]\n{same('a')}[rows.c]\n{same('b')}"
    text = f'{DEFAULTS}[rows.a]\nbackbone = "clip"\n{chain}[rows.d]\n'
    experiment = load(tmp_path, text, setting="demo")
    assert [row.name for row in experiment.rows if row.skipped] == ["a", "b", "c"]
    assert experiment.skipped() == [
        "not in this setting, which has no backbone 'clip': a",
        "starts or learns from the row 'a', which is not in this setting, which has no backbone"
        " 'clip': b; c",
    ]


def test_what_show_prints_stands_alone(tmp_path: Path) -> None:
    """The resolved file has the rows that a selected row needs, under the names that it gives."""
    text = f'roles = ["main", "large"]\n{CHAIN}'
    experiment = load(tmp_path, text, rows=["large_second"])
    again = load_experiment(write_experiment(tmp_path / "elsewhere", to_toml(experiment)))
    assert sources(again) == {"large_second": ("large_first",)}
    assert [row.data for row in again.rows] == [row.data for row in experiment.needed_rows()]

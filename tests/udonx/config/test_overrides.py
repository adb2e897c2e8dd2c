"""`--set`: which rows or which setting a text is for, and what is wrong with it."""

from __future__ import annotations

import pytest

from tests.udonx.config.loading import TWO_ROWS, load, problems, rows


def test_set_reaches_all_rows_one_row_and_the_setting(tmp_path):
    """--set takes the paths that show prints; its values are TOML, a bare word is text."""
    given = [
        "budget.scale=0.5",
        "rows.a.sampler=dynamic",
        "setting.transform.flip=false",
        "setting.data.seed=3",
    ]
    experiment = load(tmp_path, TWO_ROWS, overrides=given)
    parts = rows(experiment)
    assert [parts[name].recipe.budget.scale for name in "ab"] == [0.5, 0.5]
    assert [parts[name].recipe.sampler.use for name in "ab"] == ["dynamic", "uniform"]
    assert [parts[name].transform.flip for name in "ab"] == [False, False]
    assert experiment.data.options["seed"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "budget.stepz=3",
            (
                "--set budget.stepz=3, rows a, b: budget.stepz: got 3, but this is an unknown key;"
                " did you mean 'steps'"
            ),
        ),
        (
            "budgt.steps=3",
            (
                "--set budgt.steps=3: budgt: got { steps = 3 }, but this is an unknown key; did you"
                " mean 'budget'"
            ),
        ),
        ("rows.c.seed=3", "--set rows.c.seed=3: there is no row 'c'; the rows are a, b"),
        (
            "rows.a.sampler=dynamc",
            (
                'row a: sampler.use: got "dynamc", which is an unknown component of samplers; did'
                " you mean 'dynamic'"
            ),
        ),
        (
            "setting.dataa.seed=1",
            "dataa: got { seed = 1 }, but this is an unknown key of a setting; did you mean 'data'",
        ),
        ("budget", "--set budget: must be key.path=value"),
        (
            "budget.scale=a b",
            "--set budget.scale=a b: budget.scale: got a b, allowed is one TOML value: ",
        ),
        (
            "student_head.dim=32,64",
            "student_head.dim: got 32,64, allowed is one TOML value: a number, true, false, a list",
        ),
        ("a" + ".a" * 99 + "=1", "its path has 100 parts, allowed are 32"),
    ],
)
def test_an_unknown_path_or_value_of_set_is_an_error(tmp_path, override, message):
    """A mistake in --set is reported with the whole text of the option and the
    nearest valid name.
    """
    assert message in problems(tmp_path, TWO_ROWS, overrides=[override])


def test_a_key_of_the_setting_in_set_is_told_its_full_name(tmp_path):
    """`--set data.domains=...` is what a person tries; the message says how the keys of the setting
    are written.
    """
    assert "but this is a key of the setting: write setting.data..." in problems(
        tmp_path, TWO_ROWS, overrides=["data.seed=1"]
    )

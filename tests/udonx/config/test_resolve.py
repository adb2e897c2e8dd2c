"""All rows of a file: roles of backbones, and keys that no row has a slot for."""

from __future__ import annotations

from tests.tiny import write_experiment
from tests.udonx.config.loading import TWO_ROWS, load, problems


def test_a_default_that_no_row_has_a_slot_for_is_an_error(tmp_path):
    """Nothing that is written is dropped in silence: neither a key nor a loss of [defaults] or
    --set that no row has.
    """
    text = problems(
        tmp_path,
        '[defaults]\nteacher_budget = "full"\n[defaults.losses.student_cee]\nweight = 2.0\n'
        + TWO_ROWS,
    )
    assert 'defaults.teacher_budget: got "full", but no row here has a slot for it' in text
    assert (
        "defaults.losses.student_cee: got { weight = 2.0 }, but this is an unknown loss of these"
        " rows; did you mean 'student_ce'" in text
    )
    assert "--set losses.kl.weight=2: losses.kl" in problems(
        tmp_path, TWO_ROWS, overrides=["losses.kl.weight=2"]
    )


def test_a_backbone_role_that_the_setting_lacks_skips_the_row(tmp_path):
    """A row with another role is said to be not in this setting; it is neither replaced nor an
    error.
    """
    text = (
        TWO_ROWS
        + 'backbone = "large"\n[rows.c]\nscheme = "off_the_shelf"\nbackbone = "large"\nlabel ='
        ' "C"\n'
    )
    experiment = load(tmp_path, text, setting="demo")
    why = "not in this setting, which has no backbone 'large'"
    assert [row.skipped for row in experiment.rows] == [None, why, why]
    assert experiment.skipped() == [f"{why}: b; C"]


def test_a_backbone_role_that_no_setting_has_is_a_mistake(tmp_path):
    """A misspelt role is no row of another setting: it is named with the nearest; a role of a
    setting beside the file is known.
    """
    text = problems(tmp_path, TWO_ROWS + 'backbone = "larg"\n', setting="demo")
    assert (
        "rows.b.backbone: got \"larg\", which is an unknown backbone role; did you mean 'large'"
        in text
    )
    text = problems(tmp_path, 'roles = ["main", "clipp"]\n' + TWO_ROWS, setting="demo")
    assert (
        "roles: got \"clipp\", which is an unknown backbone role; did you mean 'clip'" in text
        and text.startswith("1 problem")
    )
    write_experiment(
        tmp_path / "settings",
        'inherit = "demo"\n[backbones.larg]\nmodel = "resnet18"\nrandom = true\n',
        "mine.toml",
    )
    assert load(tmp_path, TWO_ROWS + 'backbone = "larg"\n', setting="demo").rows[1].skipped

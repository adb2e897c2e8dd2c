"""Which layer of a row counts, and which keys of each."""

from __future__ import annotations

import re

import pytest

from tests.tiny import ROOT, SETTING, write_experiment
from tests.udonx.config.loading import TWO_ROWS, load, problems, rows
from udonx.config.experiment import load_experiment
from udonx.config.problems import ConfigError


@pytest.mark.parametrize("layers", range(7))
def test_every_layer_beats_the_one_below(tmp_path, layers):
    """Component or table default < parent setting < setting < defaults < row < --set for all rows <
    --set for one row.
    """
    states = [
        f"[optimiser]\nlr_heads = {layer}.0\n" if layers >= layer else "" for layer in range(7)
    ]
    base = re.sub(
        "lr_heads = .*\n", "", (ROOT / "experiments" / "settings" / "smoke.toml").read_text()
    )
    settings = tmp_path / "settings"
    write_experiment(
        settings, re.sub(r"\[optimiser\].*\n", states[1] or "[optimiser]\n", base), "parent.toml"
    )
    write_experiment(settings, f'inherit = "parent"\n{states[2]}', "child.toml")
    text = 'setting = "child"\n' + states[3].replace("[optimiser]", "[defaults.optimiser]")
    text += '[rows.a]\nscheme = "classification"\nsampler = "uniform"\n' + states[4].replace(
        "[optimiser]", "[rows.a.optimiser]"
    )
    overrides = ["rows.a.optimiser.lr_heads=6.0", "optimiser.lr_heads=5.0"][
        6 - layers if layers >= 5 else 2 :
    ]
    experiment = load_experiment(write_experiment(tmp_path, text), overrides=overrides)
    assert rows(experiment)["a"].recipe.optimiser.lr_heads == (layers or 1e-3)


def test_component_defaults_of_a_setting_lie_below_everything(tmp_path):
    """[KIND.NAME] of a setting replaces a component's own default, for every use of it; a row still
    beats it.
    """
    text = (
        SETTING
        + "[setting.losses.ce]\nscale = 8.0\n"
        + TWO_ROWS
        + "[rows.b.losses.student_ce]\nscale = 4.0\n"
    )
    parts = rows(load(tmp_path, text))
    assert [(loss.name, loss.options["scale"]) for loss in parts["a"].recipe.losses[:2]] == [
        ("teacher_ce", 8.0),
        ("student_ce", 8.0),
    ]
    assert parts["b"].recipe.losses[0].options == {"margin": "normface", "m": 0.0, "scale": 4.0}


def test_a_schemes_default_row_lies_below_the_defaults(tmp_path):
    """The losses that a scheme brings are changed, removed and joined by the file."""
    text = TWO_ROWS + "[defaults.losses.student_ce]\nweight = 2.0\n"
    text += '[rows.a.losses]\nrelational = false\nagain = { use = "ce", weight = 0.5 }\n'
    parts = rows(load(tmp_path, text))
    assert [(loss.name, loss.weight, loss.on) for loss in parts["a"].recipe.losses] == [
        ("teacher_ce", 1.0, "teacher"),
        ("student_ce", 2.0, "student"),
        ("kl_logit", 1.0, None),
        ("again", 0.5, "student"),
    ]
    assert [(loss.name, loss.weight) for loss in parts["b"].recipe.losses] == [("student_ce", 2.0)]


def test_a_default_without_a_slot_is_dropped_for_that_row(tmp_path):
    """A default for teachers is not for a row without them."""
    parts = rows(load(tmp_path, "[defaults]\nteacher_head = { dim = 5 }\n" + TWO_ROWS))
    assert parts["a"].recipe.teacher_head.dim == 5 and parts["b"].recipe.teacher_head is None


def test_a_key_that_a_rows_scheme_lacks_is_an_error_in_the_row(tmp_path):
    """A row that says what its scheme has no slot for is told the keys that it has."""
    text = problems(tmp_path, TWO_ROWS + "teacher_head = { dim = 5 }\n")
    assert (
        "row b: teacher_head: got { dim = 5 }, but scheme 'classification' has no slot for it; its"
        " keys are average, backbone" in text
    )


def test_a_misspelt_scheme_key_is_named(tmp_path):
    """Where the scheme is missing because its key is misspelt, the message says so."""
    path = write_experiment(tmp_path, '[rows.a]\nschema = "udon"\n')
    with pytest.raises(
        ConfigError,
        match=r"schema: got \"udon\", but this is an unknown key; did you mean 'scheme'",
    ):
        load_experiment(path, setting="smoke")

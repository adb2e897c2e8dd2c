"""The backbones of a setting: components, and where their start weights come from."""

from __future__ import annotations

import pytest

from tests.tiny import SETTING, write_experiment
from tests.udonx.config.loading import TWO_ROWS, load, problems
from udonx.inputs.sources import source_problems


@pytest.mark.parametrize(
    "key", ["checkpoint_path", "pretrained_cfg", "cache_dir", "no_jit", "img_size"]
)
def test_timms_own_switches_are_refused_by_a_check(tmp_path, key):
    """What would load weights past the stage's identity is a problem at its key, found without
    torch.
    """
    text = SETTING.replace("stem_width = 8", f'stem_width = 8, {key} = "evil.pth"') + TWO_ROWS
    assert f'backbones.main.kwargs.{key}: got "evil.pth", but this may not be set: ' in problems(
        tmp_path, text
    )


def test_false_removes_where_inherited_weights_come_from(tmp_path):
    """`local = false` and `hub = false` in a setting undo what its parent says; without either a
    backbone says where it starts.
    """
    write_experiment(
        tmp_path / "settings",
        SETTING.replace("setting.", "")
        .replace("[setting]\n", "")
        .replace("random = true", 'local = "x"\nhub = "c3_in1k"'),
        "mine.toml",
    )
    child = '[setting]\ninherit = "mine"\n[setting.backbones.main]\n'
    experiment = load(tmp_path, child + "local = false\n" + TWO_ROWS)
    assert (experiment.backbones["main"].local, experiment.backbones["main"].hub) == (
        None,
        "c3_in1k",
    )
    experiment = load(tmp_path, child + "hub = false\n" + TWO_ROWS)
    assert (experiment.backbones["main"].local, experiment.backbones["main"].hub) == ("x", None)
    text = problems(
        tmp_path, child + "hub = false\nlocal = false\n" + TWO_ROWS, sources=source_problems
    )
    assert "backbone 'main' does not say where it starts" in text


def test_a_misspelt_folder_of_weights_is_a_problem_though_the_hub_has_some(tmp_path):
    """What a file states over its setting's tag of the hub is found or is an error."""
    child = '[setting]\ninherit = "uned_mini"\n[setting.backbones.main]\nlocal = "miine"\n'
    text = problems(tmp_path, child + TWO_ROWS, sources=source_problems)
    assert (
        "needs the weights 'miine'" in text
        and "`local = false` takes timm/mobilenetv2_100.ra_in1k from timm's hub instead" in text
    )

"""TOML files: what is malformed is one sentence."""

from __future__ import annotations

import os

import pytest

from tests.tiny import SETTING
from tests.udonx.config.loading import TWO_ROWS, problems
from udonx.config.experiment import load_experiment
from udonx.config.problems import ConfigError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rows: there are no rows; add at least one table [rows.NAME]"),
        ("rows = 3", "rows: there are no rows"),
        (
            TWO_ROWS + "[defaults.optimiser]\nlr_head = 1.0",
            "rows a, b: defaults.optimiser.lr_head: got 1.0, but this is an unknown key",
        ),
        (
            'title = 3\nseeds = []\nresults = "x"\n' + TWO_ROWS,
            'results: got "x", allowed is a table',
        ),
        (
            "optimiser = { frozen = 1 }\n" + TWO_ROWS,
            "(a key of a row: put it under [defaults] or [rows.NAME])",
        ),
        (
            "[setting]\ndata = 3\nbackbones = 3\nlosses = 3\n" + TWO_ROWS,
            "setting.losses: got 3, allowed is a table",
        ),
        (
            "[setting.losses]\nce = 3\n[setting.data]\nsede = 1\n" + TWO_ROWS,
            "setting.losses.ce: got 3, allowed is a table",
        ),
        (
            "[setting]\ninherit = 3\n" + TWO_ROWS,
            "setting: got 3, allowed is the name of a setting or a table",
        ),
        (
            SETTING.replace('"resnet10t"', '"resnet10x"') + TWO_ROWS,
            'model: got "resnet10x", which is an unknown timm model; did you mean resnet10t',
        ),
        ("rows = [", "is not valid TOML"),
        (
            'setting = "smoke"\n[setting.backbones.mine]\nmodel = "resnet18"\n',
            (
                "'setting' is a name and a table at once: write [setting] with inherit = \"smoke\","
                " and beside it what differs"
            ),
        ),
        (
            '[rows.a]\nsampler = "dynamic"\nsampler.interval = 3\n',
            (
                "'sampler' is a name and a table at once: write a table with use = \"dynamic\", and"
                " beside it what differs"
            ),
        ),
        (
            "[rows.a]\nlabel = 3\n[rows.a.label]\n",
            "is not valid TOML: Cannot overwrite a value (at line 3",
        ),
        (TWO_ROWS + "x = " + "[" * 2000, "is not valid TOML: it is nested too deeply"),
        (TWO_ROWS + "x" + ".x" * 2000 + " = 1", "its tables and lists are more than 32 deep"),
        (TWO_ROWS + "x = " + "[" * 40 + "]" * 40, "its tables and lists are more than 32 deep"),
        (TWO_ROWS + "budget.steps = " + "9" * 5000, "a whole number has more than 4300 digits"),
        (TWO_ROWS + "budget.steps = 1" + "0" * 400, "a whole number has more than 64 bits"),
        (
            TWO_ROWS + "budget.epochs = 1e308",
            "row b: budget.epochs: got 1e+308, allowed is float > 0 and <= 1000000",
        ),
        ('inherit = "a\\u0000b"\n' + TWO_ROWS, r'inherit: got "a\x00b", but there is no such file'),
        (f'inherit = "{"a" * 300}"\n' + TWO_ROWS, "but there is no such file"),
        ('inherit = "."\n' + TWO_ROWS, "but there is no such file"),
        (f'[setting]\ninherit = "{"a" * 300}"\n' + TWO_ROWS, "which is an unknown setting"),
        (
            '[setting]\ninherit = "a\\u0000b"\n' + TWO_ROWS,
            r'setting: got "a\x00b", which is an unknown setting',
        ),
        (
            TWO_ROWS.replace('"udon"', '"u\\u0000"'),
            r'scheme.use: got "u\x00", which is an unknown component',
        ),
        (
            SETTING + '[setting.backbones."a\\u0000"]\nmodel = 3\n' + TWO_ROWS,
            "model: got 3, allowed is text",
        ),
        (
            "[defaults]\nlosses = false\n" + TWO_ROWS + "losses.student_ce.weight = 2",
            "defaults.losses: got false, allowed are named",
        ),
    ],
)
def test_a_malformed_file_is_told_and_never_a_traceback(tmp_path, text, message):
    """Wrong shapes at the top of a file, in its setting and in its defaults end in a sentence."""
    assert message in problems(tmp_path, text)


def test_a_pipe_is_never_waited_for(tmp_path):
    """A pipe in the place of an experiment file is refused, not read."""
    os.mkfifo(tmp_path / "table.toml")
    with pytest.raises(ConfigError, match=r"table\.toml: is no regular file"):
        load_experiment(tmp_path / "table.toml")

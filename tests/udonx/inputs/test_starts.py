"""Inits that a run would refuse for what the rows say are refused before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

import udonx
from tests.tiny import write_experiment
from udonx.config.problems import ConfigError

ROWS = """
setting = "smoke"
[defaults]
scheme = "udon"
sampler = "round_robin"
[rows.first]
"""


def start(use: str, more: str = "") -> str:
    """A second row that starts from the first."""
    return f'[rows.second]\n{more}\ninit = {{ use = "{use}", from = "first" }}\n'


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            'domains = ["glyphs"]\n' + start("same"),
            'row second: init.from: got "first", which has domains glyphs; this row has ',
        ),
        (
            "student_head.dim = 8\n" + start("grow"),
            "which has student_head linear of 8 dimensions;",
        ),
        ('student_head.use = "mlp"\n' + start("average"), "which has student_head mlp of 16"),
        (start("same", 'backbone = "clip"'), "which has backbone resnet10t; this row has vit_base"),
    ],
)
def test_a_start_that_cannot_fit_is_refused_by_check(tmp_path: Path, rows: str, message: str):
    """Other domains, student heads or backbones than the init wants are named with row and key."""
    with pytest.raises(ConfigError) as caught:
        udonx.check(write_experiment(tmp_path, ROWS + rows))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "rows",
    [
        'domains = ["glyphs"]\n' + start("grow"),
        "student_head.dim = 8\n" + start("inherit"),
        start("same", 'scheme = "as_is"\nstudent_head.use = "lda"'),
        start("average", 'scheme = "classification"'),
    ],
)
def test_what_an_init_can_take_is_left_alone(tmp_path: Path, rows: str):
    """Other domains of `grow`, a slice, a head that is fitted and another scheme are no problem."""
    udonx.check(write_experiment(tmp_path, ROWS + rows))

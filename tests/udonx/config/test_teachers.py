"""[teachers] of a row: which rows and backbones teach it, and what is wrong with them."""

from __future__ import annotations

import pytest

from tests.tiny import write_experiment
from tests.udonx.config.loading import problems
from udonx.config.experiment import load_experiment
from udonx.config.show import to_toml

TABLE = """
title = "t"
setting = "smoke"

[defaults]
scheme = "udon"
sampler = "round_robin"

[rows.big]
backbone = "large"

[rows.taught]
teachers.big = { row = "big", adapter = "linear" }
teachers.clip = { backbone = "clip", adapter = { use = "mlp", hidden = [8] }, reads = "features" }
losses.match = { use = "cosine_match", teacher = "*" }
losses.close = { use = "relational", teacher = "big" }
"""


def test_a_row_knows_who_teaches_it(tmp_path):
    """Rows and backbones that teach are needed with the row, and printed as they were given."""
    experiment = load_experiment(write_experiment(tmp_path, TABLE), rows=["taught"])
    taught = experiment.row("taught")
    assert taught.taught_by == {"big": "big"} and taught.earlier == ("big",)
    assert taught.roles == {"backbone": "main", "teachers.clip.backbone": "clip"}
    assert [row.name for row in experiment.needed_rows()] == ["big", "taught"]
    again = load_experiment(write_experiment(tmp_path, to_toml(experiment), "shown.toml"))
    assert again.row("taught").spec == taught.spec
    assert [each.reads for each in taught.teachers] == [None, "features"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'row = "big"',
            'row = "bigg"',
            "teachers.big.row: got \"bigg\", which is an unknown row; did you mean 'big'?",
        ),
        (
            'backbone = "clip"',
            'backbone = "klip"',
            'rows.taught.teachers.clip.backbone: got "klip", which is an unknown backbone role',
        ),
        (
            'row = "big"',
            'row = "big", backbone = "clip"',
            "teachers.big: has both of `row` and `backbone`; allowed is one of them",
        ),
        (
            'row = "big", adapter = "linear"',
            'reads = "features"',
            "teachers.big: has neither of `row` and `backbone`",
        ),
        (
            'adapter = "linear"',
            'reads = "features"',
            'teachers.big.reads: got "features", which only an adapter is given',
        ),
        (
            'adapter = "linear"',
            'adapter = "pca"',
            'teachers.big.adapter.use: got "pca", which is an unknown head that is trained',
        ),
        (
            'adapter = "linear"',
            'adapter = { use = "linear", dim = 3 }',
            "teachers.big.adapter.dim: is that of the teacher; leave it out",
        ),
        (
            'adapter = "linear"',
            "crop = 64",
            "teachers.big.crop: is that of the row that teaches; leave it out",
        ),
        (
            'teacher = "*"',
            'teacher = "clipp"',
            'losses.match.teacher: got "clipp", which is an unknown teacher of the row',
        ),
        (
            'teacher = "*"',
            'teacher = "big"',
            'teachers.clip: no loss learns from it; give one `teacher = "clip"`, or "*"',
        ),
        (
            'use = "relational", teacher = "big"',
            'use = "ce", teacher = "big"',
            "losses.close.teacher: got \"big\", but 'ce' learns from no teacher",
        ),
        (
            "teachers.big = {",
            'teachers."*" = {',
            'teachers.*: got the name "*", which stands for all teachers',
        ),
        (
            "[rows.big]",
            '[rows.big]\nteachers.t = { row = "taught" }\nlosses.m = { use = "sp", teacher = "t" }',
            "start or learn from each other in a circle",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, old, new, message):
    """Each names the key, what was got and what to do."""
    assert old in TABLE
    text = problems(tmp_path, TABLE.replace(old, new, 1))
    assert message in text


def test_a_teacher_that_the_setting_lacks_leaves_the_row_out(tmp_path):
    """As a backbone of the row's own does; a row that learns from it is left out with it."""
    text = TABLE.replace('backbone = "large"', 'backbone = "dinov3"').replace('"smoke"', '"demo"')
    taught = load_experiment(write_experiment(tmp_path, text)).row("taught")
    assert taught.skipped is not None and "has no backbone" in taught.skipped

"""The merged keys of a row, typed: what components say of their own options."""

from __future__ import annotations

import importlib.util

import pytest

from tests.tiny import write_experiment
from tests.udonx.config.loading import load, problems, rows

PLUGIN = """
from registry import losses


@losses.register("even")
class Even:
    def __init__(self, *, power: int = 2) -> None: ...

    @staticmethod
    def problems(options, remember):
        if options["power"] % 2:
            yield "power", "but only even powers are smooth"

    def __call__(self, student, teacher, batch): ...
"""
ROW = """
plugins = ["even.py"]
[rows.a]
scheme = "udon"
sampler = "uniform"
losses.even = { use = "even", power = 3 }
"""


def test_a_component_of_a_row_says_what_is_wrong_with_its_options(tmp_path):
    """A plug-in's own complaint stands at the key of the row, like any other problem."""
    write_experiment(tmp_path, PLUGIN, "even.py")
    expected = "row a: losses.even.power: got 3, but only even powers are smooth"
    assert expected in problems(tmp_path, ROW)


PAIRS = """
[rows.a]
scheme = "udon"
sampler = "uniform"
losses.pairs = { use = "pml", loss = "MultiSimilarity" }
"""


def test_a_loss_of_pytorch_metric_learning_is_checked_with_the_row(tmp_path):
    """A loss that the library does not have stands at its key of the row, with the nearest name."""
    pytest.importorskip("pytorch_metric_learning")
    expected = 'row a: losses.pairs.loss: got "MultiSimilarity", which pytorch-metric-learning'
    assert expected in problems(tmp_path, PAIRS)


def test_a_missing_extra_is_found_with_the_row(tmp_path, monkeypatch):
    """Without the library a row that names it says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    expected = (
        'row a: losses.pairs.use: got "pml", which needs pytorch-metric-learning; install it with'
        " pip install 'udonx[metric]'"
    )
    assert expected in problems(tmp_path, PAIRS)


def test_a_setting_gives_class_columns_new_defaults(tmp_path):
    """`[classifiers.NAME]` of a setting is to them what `[losses.NAME]` is to losses."""
    text = (
        '[setting]\ninherit = "smoke"\n[setting.classifiers.sub_centre]\nk = 7\n'
        '[rows.a]\nscheme = "udon"\nsampler = "uniform"\nstudent_classifier = "sub_centre"\n'
    )
    row = rows(load(tmp_path, text))["a"]
    assert row.recipe.student_classifier.options == {"k": 7}
    report = problems(tmp_path, text.replace("k = 7", "kay = 7"))
    assert "setting.classifiers.sub_centre.kay: got 7, but this is an unknown key" in report

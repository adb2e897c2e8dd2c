"""The merged keys of a row, typed: what components say of their own options."""

from __future__ import annotations

from tests.tiny import write_experiment
from tests.udonx.config.loading import problems

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

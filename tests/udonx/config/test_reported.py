"""`reported` of a row."""

from __future__ import annotations

import pytest

from tests.tiny import write_experiment
from udonx.config.experiment import load_experiment
from udonx.config.problems import ConfigError
from udonx.config.reported import Reported

ROW = '[rows.a]\nscheme = "udon"\nsampler = "round_robin"\n'


def test_percentages_become_fractions(tmp_path):
    """Means by metric, and figures of single domains."""
    given = 'reported = { r1 = 52.5, source = "a paper", domains = { cars = { r1 = 61 } } }\n'
    (row,) = load_experiment(write_experiment(tmp_path, ROW + given), setting="smoke").rows
    assert row.reported == Reported(
        source="a paper", means={"r1": 0.525}, per_domain={"r1": {"cars": 0.61}}
    )
    assert row.data["reported"]["r1"] == 52.5  # as `udonx show` prints it


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("3", "reported: got 3, allowed is a table"),
        ("{ r1 = 152 }", "reported.r1: got 152, allowed is float >= 0 and <= 100"),
        ("{ mp5 = 40 }", "reported.mp5: got 40, but this is an unknown key; did you mean 'mmp5'?"),
        (
            "{ domains = { cars = { r2 = 4 } } }",
            "reported.domains.cars.r2: got 4.0, but this is an unknown key; allowed: map_r",
        ),
    ],
)
def test_mistakes_are_named(tmp_path, given, message):
    """A metric that there is not, and a figure that is no percentage."""
    path = write_experiment(tmp_path, f"{ROW}reported = {given}\n")
    with pytest.raises(ConfigError, match="reported") as caught:
        load_experiment(path, setting="smoke")
    assert message in str(caught.value)

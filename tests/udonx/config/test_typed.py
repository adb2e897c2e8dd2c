"""From option descriptions to validated plain data."""

from __future__ import annotations

import pytest

from registry.contracts import Steps
from registry.options import options_of
from udonx.config.typed import validate


def part(
    *,
    count: int = 1,
    rate: float = 0.5,
    every: Steps = 10,
    pair: tuple[int, int] = (1, 2),
    table: dict[str, float] | None = None,
):
    """A component."""


@pytest.mark.parametrize(
    ("values", "key", "message"),
    [
        ({"count": True}, "count", "got true, allowed is int"),
        ({"count": 1.0}, "count", "got 1.0, allowed is int"),
        ({"rate": "0.5"}, "rate", 'got "0.5", allowed is float'),
        ({"rate": float("nan")}, "rate", "got nan, allowed is float"),
        (
            {"every": "1/0"},
            "every",
            "got \"1/0\", allowed is steps (400) or a share ('20%', '2/7')",
        ),
        ({"every": -1}, "every", "got -1, allowed is steps (400) or a share ('20%', '2/7')"),
        ({"pair": [1, 2, 3]}, "pair", "got [1, 2, 3], allowed is [int, int]"),
        (
            {"conut": 1},
            "conut",
            (
                "got 1, but this is an unknown key; did you mean 'count'? allowed: count, every,"
                " pair, rate, table"
            ),
        ),
        (3, "", "got 3, allowed is a table"),
    ],
)
def test_what_is_wrong_is_said_in_our_words(values, key, message):
    """Nothing is converted in silence: each problem has its key, what was got and
    what is allowed.
    """
    assert validate(options_of(part), values) == ({}, [(key, message)])


def test_values_are_completed_with_defaults_as_plain_data():
    """An int may stand for a float; tuples are lists, ready for TOML and JSON."""
    plain, found = validate(options_of(part), {"rate": 1, "every": "2/7", "table": {"a": 1}})
    assert found == []
    assert plain == {"count": 1, "rate": 1.0, "every": "2/7", "pair": [1, 2], "table": {"a": 1.0}}

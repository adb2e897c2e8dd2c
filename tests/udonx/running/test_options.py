"""How a run is made: values that make no sense are refused."""

from __future__ import annotations

import pytest

import udonx


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("workers", 0),
        ("workers", "a"),
        ("checkpoint_minutes", "x"),
        ("checkpoint_minutes", -1.0),
        ("checkpoint_minutes", float("inf")),
    ]
    + [("device", name) for name in ("tpu", "cuda:x", "")],
)
def test_a_value_that_makes_no_sense_is_refused_at_once(option, value):
    """The sentence names the option as the command line does."""
    flag = "--" + option.replace("_", "-")
    with pytest.raises(udonx.ConfigError, match=f"{flag}: got {value!r}, allowed "):
        udonx.RunOptions(**{option: value})

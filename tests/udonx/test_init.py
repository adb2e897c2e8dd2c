"""The Python API."""

from __future__ import annotations

import udonx


def test_dir_shows_what_is_there():
    """`dir(udonx)` and completion show what is imported only when it is used."""
    assert {"run", "load_model", "load_experiment", "ConfigError", "__version__"} <= set(dir(udonx))
    assert udonx.load_experiment is not None

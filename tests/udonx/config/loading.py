"""What tests of loading share: experiments from texts, and the report of a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import write_experiment
from udonx.config.experiment import load_experiment
from udonx.config.problems import ConfigError

TWO_ROWS = (
    '[rows.a]\nscheme = "udon"\nsampler = "uniform"\n[rows.b]\nscheme = "classification"\nsampler ='
    ' "uniform"\n'
)


def load(tmp_path: Path, text: str, **options):
    """The experiment that a text stands for, on the setting `smoke` unless it holds one."""
    return load_experiment(
        write_experiment(tmp_path, text),
        **({} if "[setting" in text else {"setting": "smoke"}) | options,
    )


def rows(experiment) -> dict:
    """The typed keys of each row."""
    return {row.name: row.spec for row in experiment.rows}


def problems(tmp_path: Path, text: str, **options) -> str:
    """The report of a broken experiment."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **options)
    return str(caught.value)

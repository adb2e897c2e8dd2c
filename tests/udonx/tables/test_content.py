"""What a table holds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.udonx.tables.small import table_row
from udonx.tables.content import Cell


def test_a_cell_is_mean_and_sample_deviation():
    """Over seeds: NumPy's mean and std with ddof = 1; one seed has no deviation."""
    values = np.random.default_rng(0).random(5)
    cell = Cell.of(values.tolist())
    assert (cell.mean, cell.std) == (
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
    )
    assert Cell.of([0.4321]) == Cell(mean=0.4321, std=None)
    assert (Cell.of([0.5, 0.6]).format(), Cell.of([0.5]).format()) == ("55.0 ± 7.1", "50.0")


@pytest.mark.parametrize(
    ("interval", "unclear"),
    [
        ((-0.1, 0.1), True),
        ((0.0, 0.0), True),
        ((0.0, 0.2), True),
        ((-0.2, 0.0), True),
        ((1e-9, 0.2), False),
        ((-0.2, -1e-9), False),
    ],
)
def test_a_difference_is_unclear_where_its_interval_contains_zero(interval, unclear):
    """Its ends included, unrounded."""
    assert table_row("a", difference=0.0, interval=interval).unclear is unclear
    assert not table_row("a", difference=0.0).unclear

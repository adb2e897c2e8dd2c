"""Texts in columns of a terminal."""

from __future__ import annotations

import random

import pytest

from udonx.common.grid import align, columns, fit, widths

LETTERS = "ab汽é±…e\u0301"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mark", ["", "…"])
def test_a_text_takes_exactly_the_columns_that_it_is_given(seed: int, mark: str) -> None:
    """Whatever its letters, cut or padded on either side; what fits is there whole."""
    chance = random.Random(seed)
    text = "".join(chance.choices(LETTERS, k=chance.randrange(12)))
    for width in range(14):
        for right in (False, True):
            fitted = fit(text, width, right=right, mark=mark)
            assert columns(fitted) == width
            if columns(text) <= width:
                assert fitted.strip() == text


def test_a_cell_that_is_cut_ends_with_the_mark() -> None:
    """Of letters two columns wide a blank may be left."""
    assert fit("汽车汽车", 6, mark="…") == "汽车… "
    assert fit("汽车", 1) == " " and fit("landmarks", 4) == "land"


def test_lines_are_aligned_below_each_other() -> None:
    """The first columns to the left, figures to the right, wide letters counted as two."""
    lines = [["row", "R@1"], ["汽车", "7.5"], ["udon", "100.0"]]
    assert widths(lines) == [4, 5]
    assert [align(line, widths(lines), left=1) for line in lines] == [
        "row    R@1",
        "汽车   7.5",
        "udon 100.0",
    ]

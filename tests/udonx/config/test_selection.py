"""What of experiment files is run."""

from __future__ import annotations

import pytest

import udonx


def test_single_texts_and_lists_are_taken_for_tuples():
    """So that nobody's row is taken for its letters."""
    selection = udonx.Selection(rows="udon", seeds=[0, 1], plugins=["a.py"], data="photos")
    assert (selection.rows, selection.seeds, selection.plugins) == (("udon",), (0, 1), ("a.py",))
    assert selection.data.name == "photos"


@pytest.mark.parametrize("seeds", [(0, 1), [0, 1], "0,1", range(2)])
def test_seeds_are_given_in_any_form(seeds):
    """Numbers, or the text that `--seeds` takes; one number is one seed."""
    assert udonx.Selection(seeds=seeds).seeds == (0, 1)
    assert udonx.Selection(seeds=3).seeds == (3,)

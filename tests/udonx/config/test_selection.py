"""What of experiment files is run."""

from __future__ import annotations

import udonx


def test_single_texts_and_lists_are_taken_for_tuples():
    """So that nobody's row is taken for its letters."""
    selection = udonx.Selection(rows="udon", seeds=[0, 1], plugins=["a.py"], data="photos")
    assert (selection.rows, selection.seeds, selection.plugins) == (("udon",), (0, 1), ("a.py",))
    assert selection.data.name == "photos"

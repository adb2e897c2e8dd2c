"""Columns of text for a terminal: how wide a text is there, and texts cut and aligned to widths."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

WIDTH = 100
"""Columns of a screen that udonx reckons with."""


def columns(text: str) -> int:
    """How many columns of a terminal a text takes.

    Chinese, Japanese and Korean characters take two, accents of their own none.

    >>> columns("cars"), columns("汽车"), columns("e\u0301")
    (4, 4, 1)
    """
    return sum(
        0
        if unicodedata.combining(letter)
        else 2
        if unicodedata.east_asian_width(letter) in "WF"
        else 1
        for letter in text
    )


def fit(text: str, width: int, *, right: bool = False, mark: str = "") -> str:
    """A text cut or padded to exactly `width` columns.

    Args:
        text: any text.
        width: how many columns it takes afterwards.
        right: whether the text stands to the right, blanks before it.
        mark: what ends a text that was cut.

    >>> fit("cars", 6), fit("cars", 6, right=True), fit("landmarks", 6, mark="…")
    ('cars  ', '  cars', 'landm…')
    """
    if columns(text) > width:
        mark = mark if columns(mark) <= width else ""
        while columns(text) > width - columns(mark):
            text = text[:-1]
        text += mark
    blanks = " " * (width - columns(text))
    return blanks + text if right else text + blanks


def widths(lines: Iterable[Sequence[str]]) -> list[int]:
    """How wide each column of some lines is.

    >>> widths([["row", "R@1"], ["udon", "7.5"]])
    [4, 3]
    """
    return [max(map(columns, column)) for column in zip(*lines, strict=True)]


def align(cells: Sequence[str], widths: Sequence[int], *, left: int = 0, mark: str = "") -> str:
    """Cells side by side, a blank between them.

    The first `left` are aligned to the left, the others to the right.

    Args:
        cells: the texts of one line.
        widths: as many widths, to which they are cut or padded.
        left: how many stand to the left.
        mark: what ends a cell that was cut.

    >>> align(["udon", "7.5"], [5, 4], left=1)
    'udon   7.5'
    """
    return " ".join(
        fit(cell, width, right=number >= left, mark=mark)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )

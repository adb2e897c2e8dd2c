"""Lines that stay at the bottom of a terminal."""

from __future__ import annotations

import io

import pytest

from udonx.common.live import LiveArea


class Screen:
    """A terminal that stores what is written, of a size that may change."""

    def __init__(self, width: int = 20, height: int = 10) -> None:
        self.stream, self.width, self.height = io.StringIO(), width, height

    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def written(self) -> str:
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text


def area(screen: Screen, lines: list[str]) -> LiveArea:
    return LiveArea(screen.stream, lambda width, height: lines, screen.size)


def test_lines_are_replaced_and_what_is_printed_stands_above() -> None:
    """A drawing goes over the last one; a printed line takes its place, the lines follow it."""
    screen, lines = Screen(), ["one", "two"]
    live = area(screen, lines)
    live.draw()
    assert screen.written() == "\r\x1b[Jone\ntwo\n"
    lines[:] = ["three"]
    live.draw()
    assert screen.written() == "\r\x1b[2A\x1b[Jthree\n"
    live.print("logged")
    assert screen.written() == "\r\x1b[1A\x1b[Jlogged\nthree\n"


def test_a_terminal_that_was_made_narrower_is_cleaned() -> None:
    """Lines that it has broken count as often as they now take rows; colours take none."""
    screen = Screen(width=20)
    live = area(screen, ["\x1b[32m" + 18 * "a" + "\x1b[0m", "b"])
    live.draw()
    screen.written()
    screen.width = 6
    live.draw()
    assert screen.written().startswith("\r\x1b[4A\x1b[J")


def test_no_more_lines_than_fit() -> None:
    """The lines leave a row for the cursor, or the terminal would scroll at each drawing."""
    screen = Screen(height=3)
    live = area(screen, ["one", "two", "three"])
    live.draw()
    assert screen.written() == "\r\x1b[Jone\ntwo\n"


def test_the_terminal_is_clean_after_ctrl_c() -> None:
    """However it ends, the lines are gone, and the cursor was never hidden."""
    screen = Screen()
    with pytest.raises(KeyboardInterrupt), area(screen, ["one"]) as live:
        live.draw()
        raise KeyboardInterrupt
    text = screen.written()
    assert text.endswith("\r\x1b[1A\x1b[J") and "?25l" not in text

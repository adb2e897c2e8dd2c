"""A few lines at the bottom of a terminal that are drawn again and again, below what is logged."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from udonx.common.grid import columns

_SECONDS = 0.5  # between two drawings
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class LiveArea:
    """Lines that stay below everything else on a terminal. Use as a context manager.

    The cursor is never hidden and stands below the lines, so that a killed process leaves the
    terminal as it should be. At the end the lines are removed.

    Args:
        stream: the terminal.
        render: the lines for so many columns and rows; called from a thread of its own.
        size: columns and rows of the terminal; by default they are asked for at each drawing.
    """

    def __init__(
        self,
        stream: TextIO,
        render: Callable[[int, int], list[str]],
        size: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._stream, self._render = stream, render
        self._size = size or (lambda: _size_of(stream))
        self._lines: list[str] = []
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._thread = threading.Thread(target=self._draw_often, name="live view", daemon=True)

    def __enter__(self) -> LiveArea:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType
    ) -> None:
        self._ended.set()
        self._thread.join()
        with self._lock:
            self._write("")
            self._lines = []

    def draw(self) -> None:
        """Draw the lines anew."""
        with self._lock:
            width, height = self._size()
            # the last column stays free: some terminals break a line there
            lines = self._render(max(1, width - 1), max(1, height - 1))[: max(1, height - 1)]
            self._write("".join(f"{line}\n" for line in lines))
            self._lines = lines

    def print(self, text: str) -> None:
        """Print a line above."""
        with self._lock:
            below = "".join(f"{line}\n" for line in self._lines)
            self._write(f"{text}\n{below}")

    def _draw_often(self) -> None:
        while not self._ended.wait(_SECONDS):
            self.draw()

    def _write(self, text: str) -> None:
        """Write in place of the lines that stand there."""
        up = f"\x1b[{rows}A" if (rows := self._rows()) else ""
        self._stream.write(f"\r{up}\x1b[J{text}")
        self._stream.flush()

    def _rows(self) -> int:
        """Rows that the lines take: a terminal that was made narrower has broken them."""
        width = max(1, self._size()[0])
        return sum(-(-max(1, columns(_STYLE.sub("", line))) // width) for line in self._lines)


def _size_of(terminal: TextIO) -> tuple[int, int]:
    """Columns and rows; 80 and 24 where the terminal does not know."""
    try:
        width, height = os.get_terminal_size(terminal.fileno())
    except OSError:
        width = height = 0
    return width or 80, height or 24

"""What a person sees while something long runs: a bar with an ETA on a terminal, plain lines
elsewhere.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

from tqdm import tqdm

from udonx.common.words import clock

_PLAIN_SECONDS = 15.0


class Report:
    """One long piece of work of `total` units. Use as a context manager.

    On a terminal it is a bar; elsewhere a line every 15 seconds and, unless `closing_line` is
    false, one at the end.
    """

    def __init__(
        self,
        title: str,
        total: int,
        unit: str,
        *,
        done: int = 0,
        stream: TextIO | None = None,
        quiet: bool = False,
        closing_line: bool = True,
    ) -> None:
        self.closing_line = closing_line
        self.title, self.total, self.unit, self.count = title, total, unit, done
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.note_text = ""
        self._began, self._first, self._said = time.monotonic(), done, 0.0
        self._bar = None
        if not quiet and self.stream.isatty():
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=title,
                unit=f" {unit}",
                dynamic_ncols=True,
                leave=False,
                file=self.stream,
            )

    def __enter__(self) -> Report:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if self.closing_line and not self.quiet and kind is None:
            seconds = time.monotonic() - self._began
            self.say(
                f"{self.title}: {self.count} {self.unit} in"
                f" {clock(seconds)}{', ' + self.note_text if self.note_text else ''}"
            )

    def tick(self, count: int = 1) -> None:
        """So many units more are done."""
        self.count += count
        if self._bar is not None:
            self._bar.update(count)
        elif not self.quiet and time.monotonic() - max(self._said, self._began) > _PLAIN_SECONDS:
            self._said = time.monotonic()
            rate = (self.count - self._first) / (self._said - self._began)
            left = clock((self.total - self.count) / rate) if rate else "?"
            self.say(
                f"{self.title}: {self.count}/{self.total} {self.unit}, {left}"
                f" left{', ' + self.note_text if self.note_text else ''}"
            )

    def note(self, text: str) -> None:
        """What stands behind the bar: losses, images per second, shares."""
        self.note_text = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def say(self, line: str) -> None:
        """A line of its own, above the bar where there is one."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.write(line, file=self.stream)
        else:
            print(line, file=self.stream, flush=True)


def above_bars(line: str) -> None:
    """A line of its own on stderr, above whatever bars there are; from any thread."""
    tqdm.write(line, file=sys.stderr)

"""How far something long has come: a bar with an ETA on a terminal, lines of the log elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tqdm import tqdm

from udonx.common.console import has_live_lines, shows_bars
from udonx.common.words import clock

logger = logging.getLogger(__name__)

_LINE_SECONDS = 15.0
_active: list[Report] = []  # what is under way, the innermost last


def active_reports() -> tuple[Report, ...]:
    """What is under way now, the innermost last."""
    return tuple(_active)


class Report:
    """One long piece of work of `total` units. Use as a context manager.

    Where the console shows bars it is a bar, and where it shows live lines these show it; elsewhere
    a line is logged every 15 seconds. At the end a line is logged too.

    Args:
        title: what is under way.
        total: how many units there are.
        unit: their name, in the plural.
        done: how many were done before.
        closing_line: whether a line is logged at the end.
    """

    def __init__(
        self, title: str, total: int, unit: str, *, done: int = 0, closing_line: bool = True
    ) -> None:
        self.closing_line = closing_line
        self.title, self.total, self.unit, self.count = title, total, unit, done
        self.note_text = ""
        self._began, self._first, self._logged = time.monotonic(), done, 0.0
        self._bar = None
        self._shown = has_live_lines()
        if shows_bars() and not self._shown:
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=title,
                unit=f" {unit}",
                dynamic_ncols=True,
                leave=False,
                file=sys.stderr,
            )

    def __enter__(self) -> Report:
        _active.append(self)
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        _active.remove(self)
        if self._bar is not None:
            self._bar.close()
        if self.closing_line and kind is None:
            seconds = clock(time.monotonic() - self._began)
            self._log(f"{self.title}: {self.count} {self.unit} in {seconds}")

    def tick(self, count: int = 1) -> None:
        """`count` more units are done."""
        self.count += count
        if self._bar is not None:
            self._bar.update(count)
        elif not self._shown and time.monotonic() - max(self._logged, self._began) > _LINE_SECONDS:
            self._logged = time.monotonic()
            seconds = self.seconds_left
            left = "?" if seconds is None else clock(seconds)
            self._log(f"{self.title}: {self.count}/{self.total} {self.unit}, {left} left")

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the mean speed so far; None before the first unit."""
        counted = self.count - self._first
        if not counted:
            return None
        return (self.total - self.count) * (time.monotonic() - self._began) / counted

    def note(self, text: str) -> None:
        """What stands behind the bar: losses, images per second, shares."""
        self.note_text = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def _log(self, line: str) -> None:
        logger.info(f"{line}, {self.note_text}" if self.note_text else line)


@contextmanager
def progress_of(
    title: str, unit: str, *, closing_line: bool = True
) -> Iterator[Callable[[int, int], None]]:
    """A report of work whose total is known only once it begins, if it begins at all.

    Args:
        title: what is under way.
        unit: what is counted, in the plural.
        closing_line: whether a line is logged at the end.

    Yields:
        `progress(done, total)`.
    """
    with ExitStack() as stack:
        report: Report | None = None

        def progress(done: int, total: int) -> None:
            nonlocal report
            if report is None:
                begun = Report(title, total, unit, closing_line=closing_line)
                report = stack.enter_context(begun)
            report.tick(done - report.count)

        yield progress

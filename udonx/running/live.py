"""The live view of a run on a terminal: its rows, what is under way, and the time that is left."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

from udonx.common.grid import columns, fit
from udonx.common.progress import Report, active_reports
from udonx.common.words import roughly
from udonx.running.events import (
    Event,
    RowChanged,
    RowId,
    RowState,
    RunBegun,
    StageBegun,
    StageEnded,
    StepsDone,
)

_STATES: tuple[RowState, ...] = ("running", "done", "reused", "failed", "waiting")
_COLOURS = {"running": "1", "done": "32", "reused": "2", "failed": "31", "waiting": "2"}
_CUT = "..."


class LiveView:
    """What a run has told so far, as lines for `udonx.common.live.LiveArea`.

    It is told by the thread that trains and drawn by another; every field is replaced as a whole.

    Args:
        colours: whether states are coloured; by default unless NO_COLOR is set.
    """

    def __init__(self, colours: bool | None = None) -> None:
        self._colours = "NO_COLOR" not in os.environ if colours is None else colours
        self._rows: dict[RowId, RowChanged] = {}
        self._stage: StageBegun | None = None
        self._steps: StepsDone | None = None
        self._left: tuple[float, float] | None = None  # seconds, and when they were counted

    def listen(self, event: Event) -> None:
        """Take in what happened."""
        if isinstance(event, RunBegun):
            self._rows = {row: RowChanged(row=row, state="waiting") for row in event.rows}
            self._count(event.seconds_left)
        elif isinstance(event, RowChanged):
            self._rows = {**self._rows, event.row: event}
            self._stage = self._steps = None
        elif isinstance(event, StageBegun):
            self._stage, self._steps = event, None
        elif isinstance(event, StageEnded):
            self._stage = self._steps = None
        elif isinstance(event, StepsDone):
            self._steps = event
            self._count(event.seconds_left)

    def lines(self, width: int, height: int) -> list[str]:
        """The view in at most so many columns and rows.

        Where the terminal is low the rows of the table give way first, those that are far from the
        running one.
        """
        summary = ["-" * width, fit(self._summary(), width, mark=_CUT).rstrip()]
        work = [fit(line, width, mark=_CUT).rstrip() for line in self._work(width)]
        room = height - len(summary) - len(work)
        return [*summary, *self._row_lines(width, room), *work][:height]

    def _count(self, seconds: float | None) -> None:
        self._left = None if seconds is None else (seconds, time.monotonic())

    def _summary(self) -> str:
        """How many rows are in which state, and how long the rest takes."""
        counts = Counter(each.state for each in self._rows.values())
        states = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
        if self._left is None:
            return f"rows: {states}; time left: not measured yet"
        seconds, counted = self._left
        left = roughly(max(0.0, seconds - (time.monotonic() - counted)))
        return f"rows: {states}; about {left} left"

    def _row_lines(self, width: int, room: int) -> Iterator[str]:
        """The rows around the running one, each on a line."""
        rows = list(self._rows.values())
        running = next((at for at, row in enumerate(rows) if row.state == "running"), 0)
        first = max(0, min(running - room // 2, len(rows) - room))
        window = rows[first : first + max(0, room)]
        details = [self._detail(row) for row in window]
        widest = max((columns(self._title(row.row)) for row in window), default=0)
        # what stands behind is short, so the title gives way; 11 is the state and two gaps
        space = max(8, width - 11 - min(30, max(map(columns, details), default=0)))
        for row, detail in zip(window, details, strict=True):
            title = fit(self._title(row.row), min(widest, space), mark=_CUT)
            line = fit(f"{row.state:7}  {title}  {detail}", width, mark=_CUT).rstrip()
            yield f"\x1b[{_COLOURS[row.state]}m{line}\x1b[0m" if self._colours else line

    def _title(self, row: RowId) -> str:
        """A row's title, after its table where there are several."""
        several = len({each.table for each in self._rows}) > 1
        return f"{row.table}: {row.title}" if several else row.title

    def _detail(self, row: RowChanged) -> str:
        """What stands behind a row: its figure, its stage and time left, or why it failed."""
        if row.state == "running":
            stage = self._stage.title if self._stage and self._stage.row == row.row else ""
            steps = self._steps
            if steps is None or steps.row != row.row or steps.row_seconds_left is None:
                return stage
            return f"{stage}, about {roughly(steps.row_seconds_left)} left"
        return f"R@1 {100 * row.r1:.1f}" if row.r1 is not None else row.why

    def _work(self, width: int) -> Iterator[str]:
        """A bar for each piece of work that is under way; losses and shares below them."""
        for report in active_reports():
            yield _bar(report, width)
        if (steps := self._steps) is None:
            return
        losses = steps.losses if len(steps.losses) > 1 else {}
        parts = [f"loss {steps.loss:.3f}", *(f"{name} {of:.3f}" for name, of in losses.items())]
        yield from _wrap([*parts, f"{steps.images_per_second:.0f} images/s"], width)
        largest_first = sorted(steps.shares.items(), key=lambda share: share[1], reverse=True)
        yield from _wrap([f"{domain} {share:.0%}" for domain, share in largest_first], width)


def _bar(report: Report, width: int) -> str:
    """Title, bar, count and time left, as much as fits; the bar gives way first."""
    count = f"{report.count}/{report.total} {report.unit}"
    if (seconds := report.seconds_left) is not None:
        count += f", {roughly(seconds)} left"
    room = min(40, width - columns(report.title) - columns(count) - 4)
    if room < 5:
        return f"{report.title}  {count}" if columns(report.title) < width // 2 else count
    filled = round(room * min(1.0, report.count / max(1, report.total)))
    return f"{report.title}  {'#' * filled}{'.' * (room - filled)}  {count}"


def _wrap(parts: list[str], width: int, most: int = 2) -> Iterator[str]:
    """Parts side by side on at most so many lines."""
    line, lines = "", 0
    for part in parts:
        longer = f"{line}  {part}" if line else f"  {part}"
        if columns(longer) > width and line:
            yield line
            lines += 1
            if lines == most:
                return
            longer = f"  {part}"
        line = longer
    if line:
        yield line

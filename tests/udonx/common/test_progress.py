"""What a person sees while something runs."""

from __future__ import annotations

import io
import logging

import pytest

from udonx.common import progress
from udonx.common.console import logging_to_stderr
from udonx.common.progress import Report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in the place of stderr."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    return stream


def test_plain_lines(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    """Away from a terminal: a line when fifteen seconds have passed, with what is left and the
    note, and one at the end.
    """
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Report("stage", 40, "steps", done=10) as bar:
        bar.note("loss 1.000")
        for _ in range(10):
            now[0] += 2
            bar.tick()
        bar.tick(20)
    assert logged == [
        "stage: 18/40 steps, 44 s left, loss 1.000",
        "stage: 40 steps in 20 s, loss 1.000",
    ]


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a bar counts on from what was done, carries the note, and logged lines appear
    above it.
    """
    stream = terminal(monkeypatch)
    with logging_to_stderr(), Report("stage", 4, "steps", done=1) as bar:
        bar.note("loss 1.000")
        logging.getLogger("udonx.engine").info("continues after step 1")
        for _ in range(3):
            bar.tick()
    shown = stream.getvalue()
    assert (
        "continues after step 1\n" in shown
        and "1/4" in shown
        and "stage: 4 steps in 0 s, loss 1.000" in shown
    )


def test_no_bar_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a library udonx shows nothing, on a terminal too."""
    stream = terminal(monkeypatch)
    with Report("stage", 1, "steps") as bar:
        bar.tick()
    assert stream.getvalue() == ""


def test_a_failure_is_not_an_end(logged: list[str]) -> None:
    """What is left by an exception has no closing line."""
    with pytest.raises(ValueError, match="stop"), Report("stage", 1, "steps"):
        raise ValueError("stop")
    assert logged == []

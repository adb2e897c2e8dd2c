"""What a person sees while something runs."""

from __future__ import annotations

import io

import pytest

from udonx.common import progress as report
from udonx.common.progress import Report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from a terminal: a line when fifteen seconds have passed, with what is left and the
    note, and one at the end.
    """
    now = [100.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with Report("stage", 40, "steps", done=10, stream=stream) as bar:
        bar.note("loss 1.000")
        for _ in range(10):
            now[0] += 2
            bar.tick()
        bar.tick(20)
    assert stream.getvalue().splitlines() == [
        "stage: 18/40 steps, 44 s left, loss 1.000",
        "stage: 40 steps in 20 s, loss 1.000",
    ]


def test_bar_on_a_terminal() -> None:
    """On a terminal a bar counts on from what was done, carries the note, and lines appear above
    it.
    """
    stream = Terminal()
    with Report("stage", 4, "steps", done=1, stream=stream) as bar:
        bar.note("loss 1.000")
        bar.say("continues after step 1")
        for _ in range(3):
            bar.tick()
    shown = stream.getvalue()
    assert (
        "continues after step 1\n" in shown
        and "1/4" in shown
        and "stage: 4 steps in 0 s, loss 1.000" in shown
    )


def test_quiet_and_failed() -> None:
    """Quiet says nothing at all, and a failure is not reported as an end."""
    stream = io.StringIO()
    with Report("stage", 1, "steps", stream=stream, quiet=True) as bar:
        bar.tick()
        bar.say("line")
    with pytest.raises(ValueError, match="stop"), Report("stage", 1, "steps", stream=stream):
        raise ValueError("stop")
    assert stream.getvalue() == ""

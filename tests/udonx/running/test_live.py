"""The live view of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import udonx
from tests.tiny import SETTING, write_domain, write_experiment
from tests.udonx.common.test_progress import terminal
from udonx.common.console import logging_to_stderr
from udonx.common.progress import Report
from udonx.running.events import RowChanged, RowId, RunBegun, StageBegun, StageEnded, StepsDone
from udonx.running.live import LiveView

ROWS = tuple(
    RowId(table="table", row=f"row{number}", seed=0, title=f"row number {number}")
    for number in range(4)
)


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveView]:
    """Row 0 is done, row 1 trains, 40 of 400 steps are done."""
    monkeypatch.setattr(Report, "seconds_left", 99.0)
    view = LiveView(colours=False)
    view.listen(RunBegun(rows=ROWS, seconds_left=None))
    view.listen(RowChanged(row=ROWS[0], state="done", r1=0.625))
    view.listen(RowChanged(row=ROWS[1], state="running"))
    view.listen(StageBegun(row=ROWS[1], stage="abc", title="student", steps=400))
    view.listen(
        StepsDone(
            row=ROWS[1],
            stage="abc",
            step=40,
            steps=400,
            loss=1.5,
            losses={"kl_logit": 0.5, "relational": 1.0},
            shares={"cars": 0.25, "food": 0.75},
            images_per_second=230.4,
            row_seconds_left=60,
            seconds_left=610,
        )
    )
    with Report("row number 1: student", 400, "steps") as report:
        report.count = 40
        yield view


def test_the_whole_table_on_a_wide_terminal(view: LiveView) -> None:
    """Rows with state and figure, stage and time left; bar, losses, speed and shares below."""
    assert view.lines(80, 24) == [
        "-" * 80,
        "rows: 1 running, 1 done, 2 waiting; about 10 min left",
        "done     row number 0  R@1 62.5",
        "running  row number 1  student, about 60 s left",
        "waiting  row number 2",
        "waiting  row number 3",
        "row number 1: student  ###..........................  40/400 steps, 1.6 min left",
        "  loss 1.500  kl_logit 0.500  relational 1.000  230 images/s",
        "  food 75%  cars 25%",
    ]


@pytest.mark.parametrize(("width", "height"), [(30, 24), (12, 24), (80, 6), (5, 3), (1, 1)])
def test_a_small_terminal_holds_it(view: LiveView, width: int, height: int) -> None:
    """Nothing is wider or higher than the terminal; of a low one the running row stays."""
    lines = view.lines(width, height)
    assert len(lines) <= height and max(map(len, lines)) <= width
    if (width, height) == (80, 6):
        assert [line for line in lines if line.startswith("running")]


def test_a_failed_row_says_why(view: LiveView) -> None:
    """The reason stands behind it, and the losses of its stage are gone."""
    view.listen(RowChanged(row=ROWS[1], state="failed", why="total is not finite"))
    lines = view.lines(80, 24)
    assert "failed   row number 1  total is not finite" in lines
    assert not any("loss 1.5" in line for line in lines)


def test_losses_go_with_their_stage(view: LiveView) -> None:
    """While the row is evaluated, no loss of its trained stage is shown."""
    view.listen(StageEnded(row=ROWS[1], stage="abc"))
    lines = view.lines(80, 24)
    assert "running  row number 1" in lines and not any("loss" in line for line in lines)


def test_time_that_was_never_measured_is_not_invented() -> None:
    """Before anything like it has run on this machine no time is shown."""
    view = LiveView(colours=False)
    view.listen(RunBegun(rows=ROWS, seconds_left=None))
    assert view.lines(80, 24)[1] == "rows: 4 waiting; time left: not measured yet"


def test_a_run_on_a_terminal_is_shown_and_leaves_nothing(tmp_path, monkeypatch) -> None:
    """The view is drawn while rows run, logged lines stand above it, and at the end it is gone."""
    for domain in ("cars", "food"):
        write_domain(tmp_path / "data", domain)
    rows = '[rows.a]\nscheme = "classification"\nsampler = "round_robin"\n'
    file = write_experiment(tmp_path, SETTING + rows)
    monkeypatch.setattr("udonx.common.live._SECONDS", 0.01)
    stream = terminal(monkeypatch)
    with logging_to_stderr():
        udonx.run(file, data=tmp_path / "data", results=tmp_path / "results", device="cpu")
    text = stream.getvalue()
    assert "rows: 1 running" in text and "done in" in text
    last = text.rindex("\x1b[J")
    assert "rows:" not in text[last:] and "it/s" not in text

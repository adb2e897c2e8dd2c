"""What a run tells a program."""

from __future__ import annotations

import json

import pytest

import udonx
from tests.tiny import SETTING, write_domain, write_experiment
from udonx.cli import main
from udonx.running.events import Event, RowChanged, StepsDone
from udonx.store.lock import StageLock

ROWS = """
[rows.a]
scheme = "classification"
sampler = "round_robin"
[rows.b]
scheme = "udon"
sampler = "dynamic"
"""


@pytest.fixture
def call(tmp_path) -> dict:
    """A call of two rows on two small domains."""
    for domain in ("cars", "food"):
        write_domain(tmp_path / "data", domain)
    return {
        "files": write_experiment(tmp_path, SETTING + ROWS),
        "data": tmp_path / "data",
        "results": tmp_path / "results",
        "device": "cpu",
    }


def states(events: list[Event]) -> list[tuple[str, str]]:
    return [(each.row.row, each.state) for each in events if isinstance(each, RowChanged)]


def test_a_listener_hears_the_run_from_begin_to_table(call) -> None:
    """Rows, stages, steps, validations, evaluations, table; given again, every row is reused."""
    events: list[Event] = []
    udonx.run(**call, listen=events.append)
    names = [event.name for event in events]
    trained = ["stage", "steps", "validation", "steps", "validation", "stage_end"]
    of_row = ["row", *trained, "evaluation", "row"]
    assert names == ["begin", *of_row, *of_row, "table"]
    assert states(events) == [("a", "running"), ("a", "done"), ("b", "running"), ("b", "done")]
    steps = [each for each in events if isinstance(each, StepsDone)]
    assert steps[-1].step == steps[-1].steps == 2 and steps[-1].images_per_second > 0
    assert steps[-1].shares.keys() == {"cars", "food"} and not steps[0].shares
    assert len(steps[-1].losses) > 1 and steps[-1].losses.keys() >= {"kl_logit"}
    again: list[Event] = []
    udonx.run(**call, listen=again.append)
    assert states(again) == [("a", "reused"), ("b", "reused")]
    assert [each.r1 for each in again if isinstance(each, RowChanged)] == [
        each.r1 for each in events if isinstance(each, RowChanged) and each.state == "done"
    ]


def test_a_row_that_fails_is_told_with_its_reason(call) -> None:
    """The others are told as before."""
    events: list[Event] = []
    with pytest.raises(udonx.RowsFailed):
        udonx.run(
            **call,
            overrides=["rows.a.optimiser.lr_heads=1e30", "rows.a.optimiser.lr_backbone=1e30"],
            listen=events.append,
        )
    assert states(events)[1::2] == [("a", "failed"), ("b", "done")]
    (why,) = (e.why for e in events if isinstance(e, RowChanged) and e.state == "failed")
    assert "is not finite" in why


def test_a_row_that_waits_says_for_whom(call, monkeypatch) -> None:
    """A stage that another process trains: the row waits for it, and goes on when it is free."""
    monkeypatch.setattr("udonx.running.queue.POLL_SECONDS", 0.01)
    call |= {"rows": ["a"]}
    (stage,) = udonx.run(**call).row("a").stages
    folder = call["results"] / "stages" / stage
    (folder / "done.json").unlink()
    events: list[Event] = []
    with StageLock(folder) as lock:
        assert lock.acquire()

        def listen(event: Event) -> None:
            events.append(event)
            if isinstance(event, RowChanged) and event.state == "waiting":
                lock.release()

        udonx.run(**call, listen=listen)
    assert [state for _, state in states(events)] == ["waiting", "running", "done"]
    assert "is training" in next(each.why for each in events if isinstance(each, RowChanged))


def test_the_command_line_prints_one_object_a_line(call, capsys) -> None:
    """With --json stdout is JSON alone, without NaN, from `begin` to the content of table.json."""
    arguments = [str(call["files"]), "--data", str(call["data"]), "--device", "cpu"]
    assert main(["run", *arguments, "--results", str(call["results"]), "--json"]) == 0

    def refuse(name: str) -> None:
        raise ValueError(name)

    lines = [
        json.loads(line, parse_constant=refuse) for line in capsys.readouterr().out.splitlines()
    ]
    assert [lines[0]["event"], lines[-1]["event"]] == ["begin", "table"]
    (table,) = call["results"].glob("tables/*/*/table.json")
    stored = json.loads(table.read_text())
    assert lines[-1]["content"]["rows"] == stored["rows"]
    assert all(line["time"].endswith("Z") for line in lines)

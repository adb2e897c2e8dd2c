"""The state of runs, worked out from what a results folder holds."""

from __future__ import annotations

import json
import shutil

import pytest

import udonx
from tests.tiny import SETTING, python, write_domain, write_experiment
from tests.udonx.records.folder import Folder
from udonx.engine.errors import TrainingError
from udonx.store.lock import StageLock
from udonx.store.runs import Run, append_run


@pytest.fixture
def folder(tmp_path):
    """An empty results folder."""
    return Folder(tmp_path)


def test_a_run_that_is_done_has_its_figures(folder):
    """R@1 of the merged index, minutes of all its stages, no reason."""
    folder.done("udon", "teacher", "student")
    (run,) = udonx.runs(folder.root)
    assert (run.state, run.why, run.r1, run.minutes) == ("done", "", 0.5, 3.0)
    assert (run.id, run.experiment, run.setting, run.row, run.seed) == (
        "1",
        "mine",
        "demo",
        "udon",
        0,
    )
    assert [stage.state for stage in run.stages] == ["done", "done"]
    assert run.command == "udonx run mine.toml"


def test_a_row_of_the_own_index_shows_that(folder):
    """The figure is the one that its table shows."""
    folder.done("udon", "student", resolved={"own_index": True})
    assert udonx.runs(folder.root)[0].r1 == 0.75


def test_a_failed_run_says_why(folder):
    """The last line of its traceback, without the module; the command goes on with it."""
    trace = ("Traceback:\n", "udonx.engine.errors.TrainingError: the loss is not finite\n")
    folder.stage("student", done=False)
    folder.run("udon", "student", status="FAILED", trace=trace)
    (run,) = udonx.runs(folder.root, state="failed")
    assert run.why == "TrainingError: the loss is not finite"


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("INTERRUPTED", "stopped by Ctrl-C or SIGTERM; "),
        ("RUNNING", "killed; "),
    ],
)
def test_an_interrupted_run_says_how_far_it_was(folder, status, why):
    """A killed process leaves a record that says RUNNING, and a lock that nobody holds."""
    folder.stage("student", done=False)
    folder.run("udon", "student", status=status)
    (run,) = udonx.runs(folder.root)
    assert (run.state, run.r1, run.minutes) == ("interrupted", None, None)
    assert run.why == f"{why}stage student at step 5 of 10: it goes on from there"


def test_a_run_whose_stage_is_held_is_running(folder):
    """Whether the process trains a stage, or reads one that it has trained."""
    folder.stage("student", done=False)
    folder.run("udon", "student", status="RUNNING")
    for shared in (False, True):
        with StageLock(folder.root / "stages" / "student", shared=shared) as lock:
            assert lock.acquire()
            (run,) = udonx.runs(folder.root)
            assert (run.state, run.why) == ("running", "")
            assert run.stages[0].holder.startswith("process ")
    assert udonx.runs(folder.root)[0].state == "interrupted"


def test_looking_changes_nothing(folder):
    """Neither a lock nor any other file is written."""
    folder.done("udon", "student")
    before = {path: path.stat().st_mtime_ns for path in folder.root.rglob("*")}
    udonx.runs(folder.root)
    assert {path: path.stat().st_mtime_ns for path in folder.root.rglob("*")} == before


def test_a_run_that_was_started_again_is_one_run(folder):
    """Its last attempt counts; an edited row, with other stages, is another run."""
    folder.stage("student", done=False)
    folder.run("udon", "student", status="INTERRUPTED")
    folder.done("other", "edited")
    folder.stage("student")
    folder.done("udon", "student")
    other, udon = udonx.runs(folder.root)
    assert (other.row, udon.state, udon.id, udon.attempts) == ("other", "done", "3", ("1", "3"))


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        ("stages/student", "stage student is not there: it is trained"),
        ("stages/student/best.safetensors", "stage student is damaged: add --fresh"),
        ("evaluations/of-student", "its evaluation is gone; nothing is trained for it again"),
    ],
)
def test_what_was_lost_since_is_said(folder, lost, why):
    """A run that was done once, and of which the same command makes something again."""
    folder.done("udon", "student")
    path = folder.root / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    (run,) = udonx.runs(folder.root)
    assert (run.state, run.why) == ("interrupted", why)


def test_a_folder_without_sacred_runs_is_read(folder):
    """As a copy without sacred/ is, or where Sacred failed: figures come from the evaluation."""
    folder.done("udon", "student")
    shutil.rmtree(folder.root / "sacred")
    line = Run(
        file="mine",
        setting="demo",
        row="other",
        seed=0,
        stages=("student",),
        sacred_id=None,
        resumes=None,
    )
    append_run(folder.root / "runs.jsonl", line)
    udon, other = udonx.runs(folder.root)
    assert (udon.state, udon.r1, udon.command) == ("done", 0.5, "")
    assert (other.id, other.state, other.r1) == ("student", "done", None)


def test_damaged_files_cost_what_they_hold(folder):
    """A run.json, stage.toml and log that cannot be read, and half a line of runs.jsonl."""
    folder.done("udon", "student")
    (folder.root / "sacred" / "1" / "run.json").write_text("{")
    (folder.root / "stages" / "student" / "stage.toml").write_text("[")
    (folder.root / "evaluations" / "of-student" / "metrics.json").write_text("3")
    with open(folder.root / "runs.jsonl", "a") as file:
        file.write('{"row": "a"}\n{"row": ')
    (run,) = udonx.runs(folder.root)
    assert (run.row, run.state, run.r1) == ("udon", "done", None)


def test_listing_needs_no_torch(folder):
    """It answers at once, on a machine without torch too."""
    folder.done("udon", "student")
    code = "import sys, udonx\n"
    code += f"print(len(udonx.runs({str(folder.root)!r})), 'torch' in sys.modules)"
    assert python(code) == "1 False"


def test_real_runs_are_read(tmp_path, monkeypatch):
    """A row that `udonx.run` has made, and one that failed."""
    write_domain(tmp_path / "data", "cars")
    rows = '[rows.start]\nscheme = "off_the_shelf"\n[rows.bad]\nscheme = "classification"\n'
    file = write_experiment(tmp_path, SETTING + rows + 'sampler = "round_robin"\n')
    options = {"data": tmp_path / "data", "results": tmp_path / "results", "device": "cpu"}
    shown = udonx.run(file, rows=("start",), **options)

    def fail(job: object) -> None:
        raise TrainingError("no luck today")

    monkeypatch.setattr("udonx.running.stage.run_stage", fail)
    with pytest.raises(udonx.RowsFailed):
        udonx.run(file, rows=("bad",), **options)
    start, bad = udonx.runs(tmp_path / "results")
    assert (start.state, start.r1, start.row) == ("done", shown.row("start").r1.mean, "start")
    assert start.experiment == file.stem and start.stages[0].title == "features"
    assert (bad.state, bad.why, bad.seed) == ("failed", "TrainingError: no luck today", 0)
    assert bad.command and bad.stages[0].state in ("missing", "interrupted")
    assert json.dumps([start.to_plain(), bad.to_plain()])

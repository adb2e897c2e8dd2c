"""Curves for TensorBoard and Weights & Biases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import udonx
from tests.tiny import SETTING, write_domain, write_experiment
from udonx.cli import main
from udonx.running import writers
from udonx.running.writers import RunWriters, WrittenRun
from udonx.store.stage import StageFolder

ROWS = """
[rows.a]
scheme = "classification"
sampler = "round_robin"
"""


@pytest.fixture
def call(tmp_path: Path) -> dict:
    """A call of one row on two small domains."""
    for domain in ("cars", "food"):
        write_domain(tmp_path / "data", domain)
    return {
        "files": write_experiment(tmp_path, SETTING + ROWS),
        "data": tmp_path / "data",
        "results": tmp_path / "results",
        "device": "cpu",
    }


def written(results: Path) -> WrittenRun:
    return WrittenRun(results=results, table="t/smoke", name="a, seed 0", stages=("x",), config={})


def curve(results: Path, part: str, name: str) -> list[tuple[int, float]]:
    """Steps and values, as TensorBoard's own reader has them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (results / "tensorboard").glob(f"*/*/*/{part}")
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_reads_the_log_of_a_stage(call: dict) -> None:
    """Losses and validations stand at their steps, the test figures beside them."""
    pytest.importorskip("tensorboard")
    table = udonx.run(**call, writers=["tensorboard"])
    row = table.row("a")
    log = StageFolder(call["results"] / "stages" / row.stages[0]).read_log()
    assert curve(call["results"], "student", "loss") == [
        (entry["step"], pytest.approx(entry["total"])) for entry in log if "total" in entry
    ]
    assert curve(call["results"], "student", "validation/r1") == [
        (entry["step"], pytest.approx(entry["validation"]["r1"]))
        for entry in log
        if "validation" in entry
    ]
    assert curve(call["results"], "test", "student/r1") == [(2, pytest.approx(row.r1.mean))]


def test_a_killed_run_continues_its_curve(call: dict, tmp_path: Path) -> None:
    """After SIGKILL and the same command each step stands once, and none is missing."""
    pytest.importorskip("tensorboard")
    steps = 60
    command = [
        *(sys.executable, "-c", "import sys; from udonx.cli import main; sys.exit(main())", "run"),
        *(str(call["files"]), "--data", str(call["data"]), "--results", str(call["results"])),
        *("--device", "cpu", "--writer", "tensorboard", "--set", f"budget.steps={steps}"),
        *("--set", "validation.every=7", "--checkpoint-minutes", "60"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        folders = list((call["results"] / "stages").glob("*"))
        # between two checkpoints, so that steps are made again
        if folders and any(entry["step"] >= 18 for entry in StageFolder(folders[0]).read_log()):
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert [step for step, _ in curve(call["results"], "student", "loss")] == list(
        range(1, steps + 1)
    )


def test_wandb_offline_continues_under_one_id(tmp_path: Path, monkeypatch) -> None:
    """Two processes of one run have one id; their files hold the figures over their own steps."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    ids = []
    for first in (1, 3):
        with RunWriters(["wandb"], written(tmp_path)) as runs:
            for step in (first, first + 1):
                runs.scalars("student", step, {"loss": 1 / step})
            ids.append(runs._writers["wandb"]._run.id)
    wandb.teardown()  # its own process has written everything then
    assert ids[0] == ids[1] == written(tmp_path).id
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2 and all(ids[0] in file.name for file in files)
    assert [history(wandb, file) for file in files] == [
        [{"student/loss": 1 / step, "student/step": step} for step in steps]
        for steps in ((1, 2), (3, 4))
    ]


def history(wandb, file: Path) -> list[dict]:
    """What a .wandb file holds, by the form of W&B's own transaction log."""
    import json

    from wandb.proto import wandb_internal_pb2

    rows = []
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        items = {
            item.key or ".".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        if items:
            rows.append({key: value for key, value in items.items() if not key.startswith("_")})
    return rows


def records(data: bytes) -> list[bytes]:
    """The records of LevelDB's log format behind a header of seven bytes."""
    found, part, at = [], b"", 7
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            found.append(part)
            part = b""
    return found


def test_a_writer_that_fails_is_reported_once(tmp_path: Path, monkeypatch, logged) -> None:
    """The others go on, and so does the run."""

    class Full(writers.TensorBoardWriter):
        def scalars(self, part: str, step: int, values: dict) -> None:
            raise OSError("no space")

    class Kept:
        seen: list[object] = []

        def start(self, run: WrittenRun) -> None:
            self.seen.append(run.name)

        def scalars(self, part: str, step: int, values: dict) -> None:
            self.seen.append((part, step, values))

        def end(self, status: str) -> None:
            self.seen.append(status)

    monkeypatch.setattr(writers, "WRITERS", {"full": Full, "kept": Kept})
    with (
        pytest.raises(KeyboardInterrupt),
        RunWriters(["full", "kept"], written(tmp_path)) as runs,
    ):
        runs.scalars("student", 1, {"loss": 1.0})
        runs.scalars("student", 2, {"loss": 0.5})
        raise KeyboardInterrupt
    assert Kept.seen == [
        "a, seed 0",
        ("student", 1, {"loss": 1.0}),
        ("student", 2, {"loss": 0.5}),
        "interrupted",
    ]
    assert logged == [
        "a, seed 0: the writer full failed (OSError: no space); the run goes on without it"
    ]


@pytest.mark.parametrize(
    ("writer", "message"),
    [
        ("tensorbord", "allowed"),
        ("tensorboard", "needs the package tensorboard; install it with pip install"),
    ],
)
def test_a_writer_that_cannot_be_had_is_refused_by_check(
    call: dict, monkeypatch, capsys, writer: str, message: str
) -> None:
    """In the file and on the command line: what is allowed, or which extra is missing."""
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    file = call["files"]
    arguments = [str(file), "--data", str(call["data"])]
    assert main(["run", *arguments, "--results", str(call["results"]), "--writer", writer]) == 2
    assert message in capsys.readouterr().err
    file.write_text(file.read_text() + f'[results]\nwriters = ["{writer}"]\n')
    assert main(["check", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_wandb_without_a_login_is_refused_before_anything_runs(monkeypatch) -> None:
    """It would ask at the terminal, in the middle of the night."""
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # it reads its variables once
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", os.devnull)
    (message,) = writers.check_writers(["wandb"])
    assert "wandb login" in message and "WANDB_MODE=offline" in message
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert writers.check_writers(["wandb"]) == []

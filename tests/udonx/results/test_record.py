"""The run record: Sacred runs, and observers that fail."""

from __future__ import annotations

import hashlib
import json

import pytest

from udonx.results.record import Recorder, check_observers, import_sacred


def test_every_row_is_a_completed_sacred_run_whose_result_is_the_table_row(smoke_run):
    """run.json, config.json and metrics.json exist; result, resolved config, artefacts and hashes of the weights lead to the table."""
    runs = {}
    for folder in (smoke_run.results / "sacred").iterdir():
        if folder.name.isdigit():
            run, config, metrics = (json.loads((folder / name).read_text()) for name in ("run.json", "config.json", "metrics.json"))
            runs[config["row"]] = (run, config, metrics, folder)
    assert sorted(runs) == sorted(row.name for row in smoke_run.table.rows)
    for row in smoke_run.table.rows:
        run, config, metrics, folder = runs[row.name]
        assert run["status"] == "COMPLETED" and run["heartbeat"]
        merged = run["result"]["student" if "student" in run["result"] else "feature"]["merged"]
        assert (merged["r1"], merged["mmp5"]) == (row.r1.mean, row.mmp5.mean)
        assert {name: domain["r1"] for name, domain in merged["per_domain"].items()} == {
            name: cell.mean for name, cell in row.r1_per_domain.items()
        }
        assert config["resolved"]["scheme"]["use"] in {"classification", "separate_teachers", "multi_head_teacher", "udon", "off_the_shelf"}
        assert metrics[f"test.{row.branch}.r1"]["values"] == [row.r1.mean]
        assert (folder / f"{row.branch}_metrics.json").exists() and (folder / f"{row.stages[0]}.stage.toml").exists()
        for stage, weights in json.loads((folder / "info.json").read_text())["weights"].items():
            content = (smoke_run.results / "stages" / stage / "best.safetensors").read_bytes()
            assert weights["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_failing_observer_does_not_stop_the_run_and_is_reported(tmp_path, monkeypatch):
    """Whatever an observer raises costs no training; each kind of event that failed is said once."""
    import_sacred()
    from sacred.observers import FileStorageObserver

    def full(*_: object, **__: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(FileStorageObserver, "artifact_event", full)
    monkeypatch.setattr(FileStorageObserver, "log_metrics", full)
    monkeypatch.setattr(FileStorageObserver, "completed_event", full)
    said: list[str] = []
    artefact = tmp_path / "a.txt"
    artefact.write_text("a")

    def body(run) -> dict:
        run.log_scalar("loss", 1.0)
        run.add_artifact(artefact)
        run.add_artifact(artefact)
        return {"answer": 42}

    assert Recorder(tmp_path / "sacred", (), said.append).run("test", {"a.b": 1}, body, lambda identity: None) == {"answer": 42}
    assert sum("artifact_event: OSError: no space; the run goes on without it" in line for line in said) == 1
    assert any("failed at completed_event" in line for line in said)
    assert json.loads((tmp_path / "sacred" / "1" / "config.json").read_text())["a_b"] == 1


def test_an_observer_that_cannot_start_does_not_stop_the_run(tmp_path):
    """Where the record's own folder cannot be written, the body runs, its id is unknown, and that is said."""
    (tmp_path / "sacred").write_text("a file where the folder should be")
    said: list[str] = []
    started: list[object] = []
    assert Recorder(tmp_path / "sacred", (), said.append).run("test", {}, lambda run: {"done": True}, started.append) == {"done": True}
    assert started == [None] and any("failed at started_event" in line for line in said)


def test_a_failing_body_marks_the_run_failed_and_goes_on_up(tmp_path):
    """The record says FAILED; the exception is the caller's."""

    def body(run) -> dict:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Recorder(tmp_path, (), print).run("test", {}, body, lambda identity: None)
    assert json.loads((tmp_path / "1" / "run.json").read_text())["status"] == "FAILED"


def test_observers_that_need_a_package_say_which(monkeypatch):
    """An observer's URL is checked before anything runs."""
    monkeypatch.setitem(__import__("sys").modules, "pymongo", None)
    (message,) = check_observers(("mongodb://host/db",))
    assert message.endswith('needs the package pymongo; install it with pip install "udonx[mongo]"')

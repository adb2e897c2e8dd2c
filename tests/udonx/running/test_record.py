"""The run record: Sacred runs, and observers that fail."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

import udonx
from tests.tiny import SETTING, write_domain, write_experiment
from udonx.running.record import Recorder, check_observers, git_state, import_sacred


def test_every_row_is_a_completed_sacred_run_whose_result_is_the_table_row(smoke_run):
    """run.json, config.json and metrics.json exist; result, resolved config, artefacts and hashes
    of the weights lead to the table.
    """
    runs = {}
    for folder in (smoke_run.results / "sacred").iterdir():
        if folder.name.isdigit():
            run, config, metrics = (
                json.loads((folder / name).read_text())
                for name in ("run.json", "config.json", "metrics.json")
            )
            runs[config["row"]] = (run, config, metrics, folder)
    assert sorted(runs) == sorted(row.name for row in smoke_run.table.rows)
    for row in smoke_run.table.rows:
        run, config, metrics, folder = runs[row.name]
        assert run["status"] == "COMPLETED" and run["heartbeat"]
        merged = run["result"]["student" if "student" in run["result"] else "feature"]["merged"]
        assert (merged["r1"], merged["mmp5"]) == (row.r1.mean, row.mmp5.mean)
        assert {name: domain["r1"] for name, domain in merged["per_domain"].items()} == {
            name: cell.mean for name, cell in row.per_domain["r1"].items()
        }
        assert config["resolved"]["scheme"]["use"] in {
            "classification",
            "separate_teachers",
            "multi_head_teacher",
            "udon",
            "off_the_shelf",
        }
        assert metrics[f"test.{row.branch}.r1"]["values"] == [row.r1.mean]
        assert (folder / f"{row.branch}_metrics.json").exists() and (
            folder / f"{row.stages[0]}.stage.toml"
        ).exists()
        for stage, weights in json.loads((folder / "info.json").read_text())["weights"].items():
            content = (smoke_run.results / "stages" / stage / "best.safetensors").read_bytes()
            assert weights["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_failing_observer_does_not_stop_the_run_and_is_reported(tmp_path, monkeypatch, logged):
    """Whatever an observer raises costs no training; the first failure is said, no other."""
    import_sacred()
    from sacred.observers import FileStorageObserver

    def full(*_: object, **__: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(FileStorageObserver, "artifact_event", full)
    monkeypatch.setattr(FileStorageObserver, "log_metrics", full)
    monkeypatch.setattr(FileStorageObserver, "completed_event", full)
    artefact = tmp_path / "a.txt"
    artefact.write_text("a")

    def body(run) -> dict:
        run.log_scalar("loss", 1.0)
        run.add_artifact(artefact)
        run.add_artifact(artefact)
        return {"answer": 42}

    assert Recorder(tmp_path / "sacred", ()).run(
        "test", {"a.b": 1}, body, lambda identity: None
    ) == {"answer": 42}
    (line,) = [line for line in logged if "failed at" in line]
    assert line.endswith("artifact_event: OSError: no space; the run goes on without it")
    assert json.loads((tmp_path / "sacred" / "1" / "config.json").read_text())["a_b"] == 1


def test_an_observer_that_cannot_start_does_not_stop_the_run(tmp_path, logged):
    """Where the record's own folder cannot be written, the body runs, its id is unknown, and that
    is said.
    """
    (tmp_path / "sacred").write_text("a file where the folder should be")
    started: list[object] = []
    assert Recorder(tmp_path / "sacred", ()).run(
        "test", {}, lambda run: {"done": True}, started.append
    ) == {"done": True}
    assert started == [None] and any("failed at started_event" in line for line in logged)


def test_a_failing_body_marks_the_run_failed_and_goes_on_up(tmp_path):
    """The record says FAILED; the exception is the caller's."""

    def body(run) -> dict:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Recorder(tmp_path, ()).run("test", {}, body, lambda identity: None)
    assert json.loads((tmp_path / "1" / "run.json").read_text())["status"] == "FAILED"


def test_observers_that_need_a_package_say_which(monkeypatch):
    """An observer's URL is checked before anything runs."""
    monkeypatch.setitem(__import__("sys").modules, "pymongo", None)
    (message,) = check_observers(("mongodb://host/db",))
    assert message.endswith('needs the package pymongo; install it with pip install "udonx[mongo]"')


@pytest.mark.parametrize("url", ["mongodb://host:port:port/db", "sqlite://runs.db"])
def test_an_observer_whose_url_cannot_be_used_is_found_before_anything_runs(monkeypatch, url):
    """Each package refuses in its own way; the sentence names the URL, the reason and what is
    allowed.
    """
    import_sacred()

    def refuse(*_: object, **__: object) -> None:
        raise ArithmeticError("no such form")

    for package in ("pymongo", "sqlalchemy"):
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    for observer in ("MongoObserver", "SqlObserver"):
        monkeypatch.setattr(f"sacred.observers.{observer}", refuse)
    (message,) = check_observers((url,))
    assert message.startswith(
        f'results.observers: got "{url}", which cannot be used (ArithmeticError: no such form);'
        " allowed is "
    )


def configs(results: Path) -> list[dict]:
    """config.json of every run."""
    return [
        json.loads(file.read_text()) for file in (results / "sacred").glob("[0-9]*/config.json")
    ]


def test_a_record_says_which_seed_command_and_commit_it_is_of(smoke_run):
    """The training seed stands under a key of its own, none where nothing is random; Sacred's own
    is always the same.
    """
    for config in configs(smoke_run.results):
        assert (
            config["training_seed"] == (None if config["row"].startswith("off") else 0)
            and config["seed"] == 0
        )
        assert "pytest" in config["command"]
        assert config["git"] == git_state(Path.cwd())


def test_a_seed_beyond_32_bits_is_trained(tmp_path):
    """Sacred, which takes no such seed, is not given it."""
    for domain in ("cars", "food"):
        write_domain(tmp_path / "data", domain)
    file = write_experiment(
        tmp_path, SETTING + '[rows.a]\nscheme = "classification"\nsampler = "uniform"\n'
    )
    table = udonx.run(
        file,
        data=tmp_path / "data",
        seeds=[2**40],
        results=tmp_path / "results",
        device="cpu",
    )
    assert table.row("a").seeds == (2**40,) and [
        config["training_seed"] for config in configs(tmp_path / "results")
    ] == [2**40]
    with pytest.raises(udonx.ConfigError, match="--seeds: got"):
        udonx.run(file, data=tmp_path / "data", seeds=[2**63], results=tmp_path / "results")


def test_the_commit_is_that_of_the_working_directory(tmp_path):
    """Where there is a repository its commit, and whether files were changed since; where there is
    none, or no git, nothing.
    """
    assert git_state(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "a.txt").write_text("a")
    for arguments in (["init", "-q"], ["add", "a.txt"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], check=True)
    state = git_state(tmp_path)
    assert len(state["commit"]) == 40 and not state["changed"]
    (tmp_path / "a.txt").write_text("b")
    assert git_state(tmp_path) == {"commit": state["commit"], "changed": True}


def test_plug_ins_that_lie_with_a_stage_are_kept_with_its_record(tmp_path):
    """Files below the stage's plugins/ are artefacts of the run."""
    for domain in ("cars", "food"):
        write_domain(tmp_path / "data", domain)
    file = write_experiment(
        tmp_path, SETTING + '[rows.a]\nscheme = "classification"\nsampler = "uniform"\n'
    )
    arguments = {
        "data": tmp_path / "data",
        "results": tmp_path / "results",
        "device": "cpu",
    }
    (stage,) = udonx.run(file, **arguments).row("a").stages
    plugins = tmp_path / "results" / "stages" / stage / "plugins" / "mine"
    plugins.mkdir(parents=True)
    (plugins / "loss.py").write_text("P = 1\n")
    for metrics in (tmp_path / "results" / "evaluations").glob("*/metrics.json"):
        metrics.unlink()
    udonx.run(file, **arguments)
    (kept,) = (tmp_path / "results" / "sacred").glob(f"*/{stage}.plugins.mine.loss.py")
    assert kept.read_text() == "P = 1\n"

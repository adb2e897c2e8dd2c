"""Copies of the run record in databases, read back as users of Sacred do."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import udonx
from tests.tiny import SETTING, write_domain, write_experiment
from udonx.cli import main
from udonx.running.mirror import StoredRun, run_folders
from udonx.running.record import Recorder, import_sacred
from udonx.running.sync import SyncError, sync_runs

ROWS = """
[rows.a]
scheme = "classification"
sampler = "round_robin"
"""


def make_run(folder: Path, urls: tuple[str, ...] = ()) -> None:
    """A run with a curve, an artefact, a resource and logged lines."""
    source = folder / "table.toml"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("title = 'a'\n")

    def body(run) -> dict:
        run.add_resource(source)
        for step in (10, 20):
            run.log_scalar("student.loss", 1 / step, step)
        run.log_scalar("test.student.r1", 0.75, 20)
        run.add_artifact(source, name="abc.stage.toml")
        run.info["weights"] = {"abc": {"path": "a.safetensors"}}
        return {"student": {"merged": {"r1": 0.75}}, "odd": float("nan")}

    recorder = Recorder(folder / "results" / "sacred", urls)
    recorder.run("table.a", {"row": "a", "a.b": 1, "rate": float("inf")}, body, lambda _: None)


def rows_of(database: Path, query: str) -> list[tuple]:
    import sqlite3

    with sqlite3.connect(database) as connection:
        return connection.execute(query).fetchall()


def test_sqlite_holds_a_run_as_sacreds_observer_reads_it(tmp_path: Path) -> None:
    """`SqlObserver.query` gives config, status, host and artefacts; curves stand in `info`."""
    SAWarning = pytest.importorskip("sqlalchemy.exc").SAWarning
    database = tmp_path / "runs.db"
    url = f"sqlite:///{database}"
    with warnings.catch_warnings():
        warnings.simplefilter("error", SAWarning)
        for _ in range(2):
            make_run(tmp_path, (url,))
    import_sacred()
    from sacred.observers import SqlObserver

    run = SqlObserver(url).query(1)
    assert run["status"] == "COMPLETED" and run["result"] == 0.75 and run["stop_time"]
    assert run["config"]["row"] == "a" and run["experiment"]["name"] == "table.a"
    assert [each["filename"] for each in run["artifacts"]] == ["abc.stage.toml"]
    content = rows_of(database, "select content from artifact")[0][0]
    assert content == b"title = 'a'\n"
    assert len(run["resources"]) == 1
    info = rows_of(database, "select info from run")[0][0]
    assert json.loads(info)["metrics"]["student.loss"]["values"] == [0.1, 0.05]


def test_no_file_of_a_run_has_a_number_that_json_has_not(tmp_path: Path) -> None:
    """NaN and infinity are null in config and result."""
    make_run(tmp_path)

    def refuse(name: str) -> None:
        raise ValueError(name)

    run = tmp_path / "results" / "sacred" / "1"
    plain = {
        file.name: json.loads(file.read_text(), parse_constant=refuse)
        for file in run.glob("*.json")
    }
    assert plain["config.json"]["rate"] is None and plain["run.json"]["result"]["odd"] is None


def test_what_is_logged_is_captured_up_to_a_size(tmp_path: Path, monkeypatch, logged) -> None:
    """cout.txt has the lines of the run alone; what is more than the limit is left out."""
    import logging

    monkeypatch.setattr("udonx.running.record._LONGEST_OUTPUT", 100)
    logger = logging.getLogger("udonx.engine")
    logger.info("before")

    def body(run) -> dict:
        for number in range(50):
            logger.info(f"line {number:03}")
        return {}

    Recorder(tmp_path, ()).run("test", {}, body, lambda _: None)
    lines = (tmp_path / "1" / "cout.txt").read_text().splitlines()
    assert lines[0] == "line 000" and lines[-1] == "... (what follows is not kept)"
    assert len(lines) == 13


def test_sync_writes_what_is_missing_and_nothing_twice(tmp_path: Path, capsys) -> None:
    """Into a new database all runs; given again none; a run that went on is brought up to date."""
    for _ in range(2):
        make_run(tmp_path)
    database, results = tmp_path / "runs.db", tmp_path / "results"
    url = f"sqlite:///{database}"
    (synced,) = sync_runs([url], results)
    assert str(synced) == f"{url}: 2 runs written, 0 there"
    (synced,) = sync_runs([url], results)
    assert (synced.written, synced.there) == (0, 2)
    run = results / "sacred" / "2" / "run.json"
    run.write_text(run.read_text().replace("COMPLETED", "INTERRUPTED"))
    (synced,) = sync_runs([url], results)
    assert (synced.written, synced.there) == (1, 1)
    assert rows_of(database, "select status from run") == [("COMPLETED",), ("INTERRUPTED",)]
    assert rows_of(database, "select count(*) from artifact") == [(2,)]
    assert rows_of(database, "select count(*) from resource") == [(1,)]
    assert capsys.readouterr().out == ""


def test_runs_of_several_folders_share_a_database(tmp_path: Path) -> None:
    """Equal ids of different results folders are different runs."""
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    for name in ("one", "two"):
        make_run(tmp_path / name, (url,))
        assert (tmp_path / name / "results" / "sacred" / "1").is_dir()
    assert rows_of(tmp_path / "runs.db", "select run_id, status from run") == [
        ("1", "COMPLETED"),
        ("2", "COMPLETED"),
    ]


def test_a_database_that_is_away_costs_one_sentence(tmp_path: Path, logged) -> None:
    """The run is made all the same; when the database is back, sync writes it."""
    folder = tmp_path / "away"
    url = f"sqlite:///{folder / 'runs.db'}"
    make_run(tmp_path, (url,))
    (line,) = [line for line in logged if "observer" in line]
    assert line.startswith(f"the observer {url} failed at started_event: OperationalError")
    assert line.endswith(
        f"the run goes on without it; `udonx runs sync {url}` writes what is missing"
    )
    with pytest.raises(SyncError, match="could not be written"):
        sync_runs([url], tmp_path / "results")
    folder.mkdir()
    (synced,) = sync_runs([url], tmp_path / "results")
    assert synced.written == 1


def test_it_is_said_once_for_all_rows_of_a_table(tmp_path: Path, logged) -> None:
    """Each row tries again, in case the database is back; the sentence is not repeated."""
    folder = tmp_path / "away"
    recorder = Recorder(tmp_path / "sacred", (f"sqlite:///{folder / 'runs.db'}",))
    for _ in range(2):
        recorder.run("test", {}, lambda run: {}, lambda _: None)
    assert len([line for line in logged if "observer" in line]) == 1
    folder.mkdir()
    recorder.run("test", {}, lambda run: {}, lambda _: None)
    assert rows_of(folder / "runs.db", "select count(*) from run") == [(1,)]


def test_a_damaged_run_is_left_out(tmp_path: Path, logged) -> None:
    """It is named; the others are written."""
    for _ in range(2):
        make_run(tmp_path)
    damaged = tmp_path / "results" / "sacred" / "1" / "run.json"
    damaged.write_text("{")
    (synced,) = sync_runs([f"sqlite:///{tmp_path / 'runs.db'}"], tmp_path / "results")
    assert (synced.written, synced.damaged) == (1, 1)
    assert any(str(damaged) in line and "left out" in line for line in logged)


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    """A URL that is none, and a folder without runs."""
    with pytest.raises(udonx.ConfigError) as error:
        sync_runs(["runs.db"], tmp_path)
    assert 'got "runs.db", which is no URL' in str(error.value)
    assert "holds no runs" in str(error.value)


def test_passwords_are_not_shown(tmp_path: Path, logged) -> None:
    """Neither in the sentence nor in what the package says."""
    make_run(tmp_path, ("postgresql://me:secret@127.0.0.1:1/db",))
    assert [line for line in logged if "me:...@127.0.0.1" in line]
    assert not any("secret" in line for line in logged)


def test_a_run_records_its_file_its_table_and_its_curves(tmp_path: Path) -> None:
    """A row's run has the experiment file as resource, table and stage.toml as artefacts."""
    for domain in ("cars", "food"):
        write_domain(tmp_path / "data", domain)
    file = write_experiment(tmp_path, SETTING + ROWS)
    udonx.run(file, data=tmp_path / "data", results=tmp_path / "results", device="cpu")
    (folder,) = run_folders(tmp_path / "results" / "sacred")
    run = StoredRun.read(folder)
    assert run.resources[str(file)].read_bytes() == file.read_bytes()
    assert {"table.md", "table.csv", "table.json"} <= run.artifacts.keys()
    assert any(name.endswith(".stage.toml") for name in run.artifacts)
    assert {
        "student.loss",
        "student.validation.r1.cars",
        "test.student.r1.food",
    } <= run.metrics.keys()


# ----------------------------------------------------------------------------------- MongoDB


@pytest.fixture(scope="module")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that speaks MongoDB's protocol: one of one's own, or one that is here."""
    pytest.importorskip("pymongo")
    if url := os.environ.get("UDONX_TEST_MONGO"):
        yield f"{url.rstrip('/')}/udonx_test_{os.getpid()}"
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("mongo")
    if mongod := shutil.which("mongod"):
        command = [mongod, "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1"]
    else:
        pytest.importorskip("secantus", reason="no mongod here, and no SecantusDB: pip install it")
        command = [
            sys.executable,
            "-m",
            "secantus",
            "--port",
            str(port),
            "--storage-path",
            str(folder),
        ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, server)
        yield f"mongodb://127.0.0.1:{port}/udonx"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"the server did not start (status {server.poll()})")


def test_mongodb_holds_a_run_as_its_readers_expect(mongo: str, tmp_path: Path, capsys) -> None:
    """The run by its config, its curves by the names in `info`, its artefacts in GridFS."""
    import gridfs
    import pymongo

    make_run(tmp_path, (mongo,))
    database = pymongo.MongoClient(mongo)[urlsplit(mongo).path.strip("/")]
    (run,) = database.runs.find({"config.row": "a"})
    assert isinstance(run["_id"], int) and run["format"].startswith("MongoObserver")
    assert run["status"] == "COMPLETED" and run["stop_time"] >= run["start_time"]
    assert run["result"]["student"]["merged"]["r1"] == 0.75 and run["config"]["a_b"] == 1
    curves = {}
    for each in run["info"]["metrics"]:
        stored = database.metrics.find_one({"run_id": run["_id"], "name": each["name"]})
        assert str(stored["_id"]) == each["id"]
        curves[each["name"]] = (stored["steps"], stored["values"])
    assert curves["student.loss"] == ([10, 20], [0.1, 0.05])
    (artifact,) = run["artifacts"]
    kept = gridfs.GridFS(database).get(artifact["file_id"])
    assert artifact["name"] == "abc.stage.toml" and kept.read() == b"title = 'a'\n"
    ((name, _),) = run["resources"]
    assert gridfs.GridFS(database).exists(filename=name)
    assert capsys.readouterr().out == ""


def test_sync_to_mongodb_writes_nothing_twice(mongo: str, tmp_path: Path) -> None:
    """Given again nothing is written; a run that went on is brought up to date."""
    import pymongo

    for _ in range(2):
        make_run(tmp_path)
    results = tmp_path / "results"
    assert [each.written for each in sync_runs([mongo], results)] == [2]
    assert [each.there for each in sync_runs([mongo], results)] == [2]
    database = pymongo.MongoClient(mongo)[urlsplit(mongo).path.strip("/")]
    files = database["fs.files"].count_documents({})
    run = results / "sacred" / "2" / "run.json"
    run.write_text(run.read_text().replace("COMPLETED", "FAILED"))
    assert [each.written for each in sync_runs([mongo], results)] == [1]
    assert database.runs.count_documents({"status": "FAILED"}) == 1
    assert database["fs.files"].count_documents({}) == files


def test_a_mongodb_that_is_away_costs_one_sentence_and_no_time(tmp_path: Path, logged) -> None:
    """The first event waits some seconds for it, and no later one does."""
    pytest.importorskip("pymongo")
    make_run(tmp_path, ("mongodb://127.0.0.1:1/udonx",))
    (line,) = [line for line in logged if "observer" in line]
    assert "ServerSelectionTimeoutError" in line and "udonx runs sync" in line


def test_the_command_says_what_it_did(tmp_path: Path, capsys) -> None:
    """A line for each database; a folder without runs is refused with status 2."""
    make_run(tmp_path)
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    assert main(["runs", "sync", url, "--results", str(tmp_path / "results")]) == 0
    assert capsys.readouterr().out == f"{url}: 1 run written, 0 there\n"
    assert main(["runs", "sync", url, "--results", str(tmp_path / "none")]) == 2
    assert "holds no runs" in capsys.readouterr().err

"""`udonx runs`."""

from __future__ import annotations

import json

import pytest

from tests.udonx.records.folder import Folder
from udonx.cli import main

HEADER = ["id", "experiment", "row", "seed", "state", "R@1", "min", "when", "stage"]


@pytest.fixture
def folder(tmp_path):
    """A run that is done, one that failed, one that was killed."""
    folder = Folder(tmp_path)
    folder.done("good", "alpha")
    folder.run("bad", "beta", status="FAILED", trace=("UdonxError: no luck\n",))
    folder.stage("gamma", done=False)
    folder.run("half", "gamma", status="RUNNING", file="a_file_of_a_very_long_name_" * 5)
    return folder


def test_it_lists_runs_and_how_to_go_on(folder, capsys):
    """A line each, at most 100 columns; below them why, and the command."""
    for command in (["runs"], ["runs", "list"]):
        assert main([*command, "--results", str(folder.root)]) == 0
        lines = capsys.readouterr().out.strip().split("\n")
        assert lines[0].split() == HEADER
        assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
        assert max(map(len, lines[:4])) <= 100
        assert lines[1].split()[1:8] == ["mine", "demo", "good", "0", "done", "50.0", "1.5"]
        assert lines[4:6] == [
            "2 (bad) failed: UdonxError: no luck",
            "    go on: udonx run mine.toml",
        ]
        assert "at step 5 of 10" in lines[6]
        assert lines[-1] == "3 runs: 1 done, 1 failed, 1 interrupted"


def test_json_holds_what_the_list_shows(folder, capsys):
    """A list of tables for programs; filters count."""
    assert main(["runs", "--json", "--state", "done", "--results", str(folder.root)]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["id"], run["row"], run["state"], run["r1"]) == ("1", "good", "done", 0.5)
    assert [stage["id"] for stage in run["stages"]] == ["alpha"]


def test_an_empty_folder_and_one_that_is_not_there(tmp_path, capsys):
    """The first has no run; the second is one sentence and exit code 2."""
    assert main(["runs", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no run\n"
    assert main(["runs", "--results", str(tmp_path / "none")]) == 2
    assert "there is no such folder; give the one that `udonx run` was given" in (
        capsys.readouterr().err
    )


def test_help_names_its_commands(capsys):
    """Those of `udonx runs`, each with what it does; a command that there is not is refused."""
    assert main(["runs", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("list", "show", "diff", "rm", "gc"))
    assert main(["runs", "shwo"]) == 2
    assert 'udonx runs: Unknown command "shwo". Did you mean "show"?' in capsys.readouterr().err

"""`udonx runs rm` and `udonx runs gc`."""

from __future__ import annotations

import sys

import pytest

import udonx
from tests.udonx.records.folder import Folder
from udonx.cli import main


@pytest.fixture
def folder(tmp_path):
    """Two runs that share a teacher, and a stage of no run."""
    folder = Folder(tmp_path)
    folder.done("a", "teacher", "alpha")
    folder.done("b", "teacher", "beta")
    folder.table(a=("teacher", "alpha"), b=("teacher", "beta"))
    folder.stage("stray")
    return folder


def rows(folder: Folder) -> list[str]:
    """The rows of the runs that are left."""
    return [run.row for run in udonx.runs(folder.root)]


@pytest.mark.parametrize(("answer", "left"), [("y", ["b"]), ("n", ["a", "b"]), ("", ["a", "b"])])
def test_rm_asks(folder, monkeypatch, capsys, answer, left):
    """It says what goes and what stays before; only a yes removes."""
    asked = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or answer)
    assert main(["runs", "rm", "1", "--results", str(folder.root)]) == 0
    out = capsys.readouterr().out
    assert "remove run 1: mine demo: a, seed 0 (done)\nremove stage alpha: " in out
    assert "keep stage teacher: stage, needed by run 2 (mine demo: b, seed 0)\n" in out
    assert asked[0].startswith("remove 1 run, 1 stage, 1 evaluation, ")
    assert rows(folder) == left


def test_rm_removes_nothing_where_nobody_can_be_asked(folder, monkeypatch, capsys):
    """One sentence and exit code 2; `--yes` is the answer."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    command = ["runs", "rm", "1", "2", "--results", str(folder.root)]
    assert main(command) == 2
    assert "nobody can be asked here; add --yes" in capsys.readouterr().err
    assert rows(folder) == ["a", "b"]
    assert main([*command, "--yes"]) == 0
    assert capsys.readouterr().out.strip().split("\n")[-1].startswith("removed 2 runs, 3 stages, 2")
    assert rows(folder) == []


def test_gc_lists_and_removes_only_with_yes(folder, capsys):
    """What no table needs, with its size; then there is nothing more."""
    command = ["runs", "gc", "--results", str(folder.root)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("remove stage stray: stage, ") and "`udonx runs gc --yes` removes" in out
    assert (folder.root / "stages" / "stray").is_dir()
    assert main([*command, "--yes"]) == 0
    assert "removed 0 runs, 1 stage, 0 evaluations, " in capsys.readouterr().out
    assert not (folder.root / "stages" / "stray").exists() and rows(folder) == ["a", "b"]
    assert main(command) == 0
    assert capsys.readouterr().out == "nothing to remove: a table needs all the rest\n"

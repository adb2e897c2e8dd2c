"""`udonx runs show` and `udonx runs diff`."""

from __future__ import annotations

import json

from tests.udonx.records.folder import Folder
from udonx.cli import main


def test_show_prints_a_run(tmp_path, capsys):
    """State, command, stages, figures, and the tables that show it; `--json` has the whole row."""
    folder = Folder(tmp_path)
    folder.done("a", "alpha", resolved={"scheme": {"use": "udon"}}, versions={"torch": "2.9"})
    folder.table(a=("alpha",))
    assert main(["runs", "show", "1", "--results", str(tmp_path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.split("\n")]
    for line in (
        "run 1: mine demo: a, seed 0",
        "state done",
        "command udonx run mine.toml",
        "tables mine/demo",
        "versions torch 2.9",
        "alpha stage done 10/10 10 75.0 1.5 " + lines[lines.index("") + 2].split(" ", 7)[-1],
        "student, merged index r1 mmp5",
        "mean 50.0 25.0",
        "food 50.0 -",
    ):
        assert line in lines
    assert main(["runs", "show", "alpha", "--json", "--results", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["resolved"]["scheme"]["use"] == "udon"


def test_diff_prints_two_runs(tmp_path, capsys):
    """What differs, and as JSON."""
    folder = Folder(tmp_path)
    folder.done("a", "alpha", resolved={"precision": "fp32"})
    folder.done("a", "beta", resolved={"precision": "bf16"})
    assert main(["runs", "diff", "1", "2", "--results", str(tmp_path)]) == 0
    assert '  precision: "fp32" -> "bf16"\n' in capsys.readouterr().out
    assert main(["runs", "diff", "1", "2", "--json", "--results", str(tmp_path)]) == 0
    change = {"key": "precision", "first": "fp32", "second": "bf16"}
    assert json.loads(capsys.readouterr().out)["config"] == [change]

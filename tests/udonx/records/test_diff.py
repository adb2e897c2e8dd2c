"""How two runs differ."""

from __future__ import annotations

import attrs
import pytest

import udonx
from tests.udonx.records.folder import Folder
from udonx.records.diff import Change, diff_runs
from udonx.records.text import diff_text


@pytest.fixture
def runs(tmp_path):
    """Two runs of one row, of which the second has another option, version and result."""
    folder = Folder(tmp_path)
    about = {"data": {"source": "uned"}, "manifest": {"food": {"test": "0123"}}}
    head = {"use": "linear", "dim": 64}
    versions = {"torch": "2.9", "timm": "1"}
    folder.done("a", "one", resolved={"student_head": head}, versions=versions, **about)
    resolved = {"student_head": {**head, "dim": 32}}
    folder.done("a", "two", resolved=resolved, versions={**versions, "torch": "3"}, **about)
    first, second = udonx.runs(tmp_path)
    student = second.results["student"]
    better = {**student["merged"], "r1": 0.75}
    return first, attrs.evolve(second, results={"student": {**student, "merged": better}})


def test_only_what_differs_is_named(runs):
    """By dotted keys, in four sections; figures stand in any case."""
    diff = diff_runs(*runs)
    assert diff.config == (Change(key="student_head.dim", first=64, second=32),)
    assert diff.versions == (Change(key="versions.torch", first="2.9", second="3"),)
    assert diff.data == ()
    assert diff.metrics[:2] == (
        Change(key="student.merged.r1", first=0.5, second=0.75),
        Change(key="student.merged.mmp5", first=0.25, second=0.25),
    )
    assert set(diff.to_plain()) == {"first", "second", "config", "data", "versions", "metrics"}


def test_the_screen_has_per_cent_and_points(runs):
    """Those of the merged index alone where there are some."""
    lines = diff_text(diff_runs(*runs)).split("\n")
    assert "  student_head.dim: 64 -> 32" in lines and "data: the same" in lines
    figures = [line.split() for line in lines if line.startswith("  student.merged.r1 ")]
    assert figures == [["student.merged.r1", "50.0", "75.0", "+25.0"]]
    assert not any(".own." in line for line in lines)


def test_a_run_without_a_sacred_run_has_its_figures(runs):
    """What is not known of it is absent, not equal."""
    first, second = runs
    diff = diff_runs(attrs.evolve(first, sacred=None), second)
    assert Change(key="student_head.dim", first=None, second=32) in diff.config
    assert diff.metrics == diff_runs(first, second).metrics

"""Runs chosen, sorted and found."""

from __future__ import annotations

import pytest

import udonx
from tests.udonx.records.folder import Folder
from udonx.config.problems import ConfigError
from udonx.records.listing import find_run


@pytest.fixture
def results(tmp_path):
    """Two runs that are done, of which one has a stage of the other, and one that failed."""
    folder = Folder(tmp_path)
    folder.done("udon", "aaaa", "bbbb")
    folder.done("teacher", "aaaa", file="other", seed=None)
    folder.run("broken", "abcd", status="FAILED", seed=1)
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({}, ["udon", "teacher", "broken"]),
        ({"experiment": "other"}, ["teacher"]),
        ({"setting": "demo", "seed": 1}, ["broken"]),
        ({"state": "failed"}, ["broken"]),
        ({"row": "nothing"}, []),
        ({"sort": "row"}, ["broken", "teacher", "udon"]),
        ({"sort": "minutes"}, ["teacher", "udon", "broken"]),
        ({"sort": "minutes", "reverse": True}, ["udon", "teacher", "broken"]),
        ({"sort": "seed", "reverse": True}, ["broken", "udon", "teacher"]),
    ],
)
def test_runs_are_chosen_and_sorted(results, wanted, rows):
    """By any of their columns; those that lack a value come last either way."""
    assert [run.row for run in udonx.runs(results, **wanted)] == rows


def test_a_folder_that_is_not_there_is_named(tmp_path):
    """One sentence; nothing is made."""
    with pytest.raises(ConfigError, match="there is no such folder; give the one that"):
        udonx.runs(tmp_path / "none")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("identity", ["1", "bbbb", "bbb"])
def test_a_run_has_a_number_and_a_last_stage(results, identity):
    """The number is Sacred's; of the stage a beginning is enough."""
    assert find_run(udonx.runs(results), identity).row == "udon"


@pytest.mark.parametrize(
    ("identity", "sentence"),
    [
        ("7", "there is no such run; an id is a number of `udonx runs`"),
        ("b", "there is no such run"),  # too short
        ("none", "there is no such run"),
    ],
)
def test_an_id_of_no_run_is_refused(results, identity, sentence):
    """The sentence says what an id is."""
    with pytest.raises(ConfigError, match=sentence):
        find_run(udonx.runs(results), identity)


def test_an_id_of_several_runs_is_refused(tmp_path):
    """They are named; so are the users of a stage that is the last of none."""
    folder = Folder(tmp_path)
    folder.done("a", "abcd", "same")
    folder.done("b", "same", file="other")
    runs = udonx.runs(tmp_path)
    with pytest.raises(ConfigError, match=r"2 runs have this id: 1 \(mine demo: a, seed 0\), 2 "):
        find_run(runs, "same")
    with pytest.raises(ConfigError, match="is an earlier one of run 1; give one of these"):
        find_run(runs, "abcd")

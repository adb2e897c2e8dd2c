"""What may be removed, and that nothing else is."""

from __future__ import annotations

import json

import pytest

import udonx
from tests.udonx.records.folder import Folder
from udonx.config.problems import ConfigError
from udonx.records.removal import Removal, plan_collection, plan_removal
from udonx.store.lock import StageLock


@pytest.fixture
def folder(tmp_path):
    """An empty results folder."""
    return Folder(tmp_path)


def left(folder: Folder) -> list[str]:
    """The stages, evaluations and Sacred runs that are there."""
    return sorted(
        f"{path.parent.name}/{path.name}"
        for room in ("stages", "evaluations", "sacred")
        for path in (folder.root / room).iterdir()
    )


def kept(removal: Removal) -> dict[str, str]:
    """Why stages stay, by their ids."""
    return {one.stage.id: one.why for one in removal.kept}


def test_a_run_goes_with_its_stages_and_evaluations(folder):
    """Its line and its Sacred run too; its own table keeps what it says."""
    folder.done("a", "alpha")
    folder.done("b", "beta")
    folder.table(a=("alpha",), b=("beta",))
    removal = plan_removal(folder.root, ["1"])
    size = sum(
        file.stat().st_size
        for name in ("stages/alpha", "evaluations/of-alpha")
        for file in (folder.root / name).iterdir()
    )
    assert (removal.bytes, kept(removal)) == (size, {})
    removal.carry_out()
    assert left(folder) == ["evaluations/of-beta", "sacred/2", "stages/beta"]
    assert [run.row for run in udonx.runs(folder.root)] == ["b"]


def test_what_another_run_needs_stays(folder):
    """A teacher of two rows: the run goes, the teacher stays, and its users are named."""
    folder.done("a", "teacher", "alpha")
    folder.done("b", "teacher", "beta")
    removal = plan_removal(folder.root, ["1"])
    assert kept(removal) == {"teacher": "needed by run 2 (mine demo: b, seed 0)"}
    removal.carry_out()
    assert "stages/teacher" in left(folder) and "stages/alpha" not in left(folder)
    plan_removal(folder.root, ["2"]).carry_out()
    assert left(folder) == []


def test_what_another_table_shows_stays(folder):
    """Though the record of the run behind it is lost."""
    folder.done("a", "alpha")
    folder.table(a=("alpha",))
    folder.table("other", c=("alpha",))
    removal = plan_removal(folder.root, ["1"])
    assert kept(removal) == {"alpha": "needed by the table other/demo (c)"}
    assert (removal.stages, removal.evaluations) == ((), ())


def test_runs_are_removed_together(folder):
    """What only these share goes too."""
    folder.done("a", "teacher", "alpha")
    folder.done("b", "teacher", "beta")
    plan_removal(folder.root, ["1", "beta"]).carry_out()
    assert left(folder) == [] and udonx.runs(folder.root) == []


def test_a_running_run_is_not_removed(folder):
    """It is named, and nothing goes."""
    folder.stage("alpha", done=False)
    folder.run("a", "alpha", status="RUNNING")
    with StageLock(folder.root / "stages" / "alpha") as lock:
        assert lock.acquire()
        with pytest.raises(ConfigError, match="mine demo: a, seed 0 is running; stop it first"):
            plan_removal(folder.root, ["1"])
    assert [stage.id for stage in plan_removal(folder.root, ["1"]).stages] == ["alpha"]


def test_a_stage_that_is_taken_meanwhile_stays(folder):
    """With its evaluations and the record of its run."""
    folder.done("a", "alpha")
    removal = plan_removal(folder.root, ["1"])
    before = left(folder)
    with StageLock(folder.root / "stages" / "alpha", shared=True) as lock:
        assert lock.acquire()
        removed = removal.carry_out()
    assert removed.empty and kept(removed)["alpha"].startswith("in use by process")
    assert left(folder) == before and len(udonx.runs(folder.root)) == 1


def test_a_removal_that_was_cut_off_is_given_again(folder):
    """The record of a run goes last, so that its id is known until all else is gone."""
    folder.done("a", "alpha")
    again = plan_removal(folder.root, ["1"])
    plan_removal(folder.root, ["1"]).carry_out()
    folder.attempts = 0
    folder.run("a", "alpha")
    again.carry_out()
    assert left(folder) == []


def test_damaged_lines_of_the_record_stay(folder):
    """They may be of another version."""
    folder.done("a", "alpha")
    with open(folder.root / "runs.jsonl", "a") as file:
        file.write('{"row": "of another version"}\nno JSON\n')
    folder.done("b", "beta")
    plan_removal(folder.root, ["1"]).carry_out()
    lines = (folder.root / "runs.jsonl").read_text().split("\n")
    assert lines[:2] == ['{"row": "of another version"}', "no JSON"] and len(lines) == 4
    assert [run.row for run in udonx.runs(folder.root)] == ["b"]


@pytest.mark.parametrize("names", [{"stages": ["../../outside"]}, {"sacred_id": "../../outside"}])
def test_nothing_outside_the_results_folder_is_removed(tmp_path, names):
    """A line of runs.jsonl that names another place, of a folder from elsewhere, is left out."""
    folder = Folder(tmp_path / "results")
    folder.done("a", "alpha")
    (tmp_path / "outside").mkdir()
    file = folder.root / "runs.jsonl"
    line = {**json.loads(file.read_text()), **names}
    del line["digest"]
    file.write_text(json.dumps(line) + "\n")
    with pytest.raises(ConfigError, match="there is no such run"):
        plan_removal(folder.root, ["1"])
    assert (tmp_path / "outside").is_dir() and udonx.runs(folder.root) == []


def test_gc_finds_what_no_table_needs(folder):
    """The stage of a row that was edited since, with its run; and one of no run at all."""
    folder.done("a", "teacher", "before")
    folder.done("a", "teacher", "after")
    folder.stage("stray")
    folder.table(a=("teacher", "after"))
    removal = plan_collection(folder.root)
    assert [stage.id for stage in removal.stages] == ["before", "stray"]
    assert [run.id for run in removal.runs] == ["1"]
    assert [one.id for one in removal.evaluations] == ["of-before"]
    removal.carry_out()
    assert left(folder) == ["evaluations/of-after", "sacred/2", "stages/after", "stages/teacher"]
    assert plan_collection(folder.root).empty


def test_gc_keeps_what_can_still_come_into_a_table(folder):
    """Stages of runs that can go on, of runs without a table, and those in use."""
    folder.done("a", "alpha")
    folder.table(a=("alpha",))
    folder.stage("half", done=False)
    folder.run("b", "half", status="INTERRUPTED")
    folder.done("c", "gamma", file="other")
    folder.stage("held")
    with StageLock(folder.root / "stages" / "held", shared=True) as lock:
        assert lock.acquire()
        removal = plan_collection(folder.root)
    assert removal.empty
    assert kept(removal)["half"] == "run 2 (mine demo: b, seed 0) is interrupted"
    assert kept(removal)["gamma"] == "run 3 (other demo: c, seed 0), whose table is not written"
    assert kept(removal)["held"].startswith("in use by process")


@pytest.mark.parametrize("plan", [plan_collection, lambda results: plan_removal(results, ["1"])])
def test_nothing_is_removed_beside_a_damaged_table(folder, plan):
    """It is not known what it needs: one sentence with the command that makes it again."""
    folder.done("a", "alpha")
    folder.table(a=("alpha",))
    (folder.root / "tables" / "mine" / "demo" / "table.json").write_text("{")
    with pytest.raises(ConfigError, match="till then it is not known which stages it needs"):
        plan(folder.root)

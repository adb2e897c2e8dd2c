"""Which folder a table lies in: one for each question, the same for the same arguments, never
outside the results.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from tests.tiny import ROOT, SETTING, write_domain, write_experiment
from udonx.config.experiment import load_experiment
from udonx.tables.question import question_of

TABLE3 = ROOT / "experiments" / "table3_ablation.toml"
ROW = '[rows.a]\nscheme = "off_the_shelf"\n'


def folder(path: Path, results: Path, **options) -> str:
    """The folder of a file's table below tables/."""
    return str(question_of(load_experiment(path, **options), results).folder)


def test_a_shipped_file_on_a_setting_lies_under_their_names(tmp_path):
    """The path that scripts know, wherever the results lie and whichever rows and seeds are asked
    for.
    """
    assert folder(TABLE3, tmp_path) == "table3_ablation/demo"
    assert (
        folder(TABLE3, tmp_path, setting="smoke", rows=["udon"], seeds=[3])
        == "table3_ablation/smoke"
    )


def test_a_file_beside_the_results_needs_no_hash_unless_it_has_a_shipped_name(tmp_path):
    """Two files of one name never share a folder, and where they lie is seen from beside the
    results, so that all may move together.
    """
    mine = write_experiment(tmp_path, 'setting = "smoke"\n' + ROW, "mine.toml")
    assert folder(mine, tmp_path / "results") == "mine/smoke"
    namesake = write_experiment(tmp_path, 'setting = "smoke"\n' + ROW, "table3_ablation.toml")
    below = [
        write_experiment(tmp_path / name, 'setting = "smoke"\n' + ROW, "mine.toml")
        for name in ("a", "b")
    ]
    found = {folder(file, tmp_path / "results") for file in (mine, namesake, *below)}
    assert len(found) == 4 and {place.split("+")[0] for place in found} == {
        "mine/smoke",
        "table3_ablation/smoke",
    }
    moved = write_experiment(tmp_path / "elsewhere" / "a", 'setting = "smoke"\n' + ROW, "mine.toml")
    assert folder(moved, tmp_path / "elsewhere" / "results") == folder(
        below[0], tmp_path / "results"
    )


def test_set_counts_but_not_its_order(tmp_path):
    """Other overrides, and another last one of the same key, are another question."""
    one, two, other = "budget.scale=0.5", "setting.data.seed=3", "budget.scale=0.25"
    folders = [
        folder(TABLE3, tmp_path, overrides=given)
        for given in ([one], [one, two], [two, one], [one, other], [other, one], [])
    ]
    assert folders[1] == folders[2] and len(set(folders)) == 5
    assert folders[0].startswith("table3_ablation/demo+")


def test_the_data_folder_counts_and_names_the_table(tmp_path):
    """Two folders of images are two questions, however one of them is written."""
    write_domain(tmp_path / "photos", "cars")
    write_domain(tmp_path / "other" / "photos", "cars")
    mine = write_experiment(tmp_path, SETTING + ROW, "mine.toml")
    first = folder(mine, tmp_path / "results", data=tmp_path / "photos")
    assert first.startswith("mine/own+photos+") and first == folder(
        mine, tmp_path / "results", data=tmp_path / "other" / ".." / "photos"
    )
    assert first != folder(mine, tmp_path / "results", data=tmp_path / "other" / "photos")


def test_start_weights_count_where_they_are_taken(tmp_path, monkeypatch):
    """A folder of weights that holds what a role starts from is another question; one that holds
    nothing for it is not.
    """
    plain = folder(TABLE3, tmp_path, weights=tmp_path)
    taken = tmp_path / "taken"
    monkeypatch.setattr("udonx.tables.question.local_folder", lambda backbone, given: taken)
    assert plain == "table3_ablation/demo" and folder(
        TABLE3, tmp_path, weights=tmp_path
    ).startswith("table3_ablation/demo+")


@pytest.mark.parametrize(
    "name", ["/etc/place", "../../place", "..", ".", "a/b", "x" * 300, "new\nline", "über\x1b[31m"]
)
def test_no_name_leads_out_of_the_results(tmp_path, name):
    """A setting named by a path, or by anything else, is one folder below the file's; another name
    is another folder.
    """
    experiment = attrs.evolve(load_experiment(TABLE3), setting=name)
    question = question_of(experiment, tmp_path)
    assert question.file == "table3_ablation" and question != question_of(
        attrs.evolve(experiment, setting=name + "x"), tmp_path
    )
    assert (
        "/" not in question.variant
        and not question.variant.startswith(".")
        and len(question.variant.encode()) < 200
    )
    assert question.variant.isprintable() and "+" in question.variant

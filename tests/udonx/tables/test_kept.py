"""The table of a run on disk: what is kept, what is replaced, and what is said where something
behind it is damaged or gone.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import udonx
from tests.tiny import ROOT, SETTING, write_domain, write_experiment
from udonx.cli import main
from udonx.store.results import Results
from udonx.tables.storage import read_table
from udonx.tables.table import Table

TABLE3 = ROOT / "experiments" / "table3_ablation.toml"
ROWS = (
    '[rows.start]\nscheme = "off_the_shelf"\n[rows.pca]\nscheme = { use = "off_the_shelf", reduce ='
    ' "pca" }\n'
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two healthy domains."""
    write_domain(tmp_path / "data", "cars")
    write_domain(tmp_path / "data", "food", first_class=5)
    return tmp_path / "data"


@pytest.fixture
def results(smoke_run, tmp_path: Path) -> Path:
    """A copy of the smoke run's results."""
    shutil.copytree(smoke_run.results, tmp_path / "results")
    return tmp_path / "results"


def run(file: Path, data: Path, **options) -> Table:
    """Run a file on the data beside it, in silence."""
    arguments = {"data": data, "results": data.parent / "results", "device": "cpu"}
    return udonx.run(file, **{**arguments, **options})


def stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    """Which file each path is, and when it was written last."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_a_table_of_other_figures_is_kept_and_more_rows_keep_nothing(data, capsys, logged):
    """An edited row puts the old table into earlier/1, which the run says and `udonx table` shows;
    a further row only adds.
    """
    first = run(write_experiment(data.parent, SETTING + ROWS, "mine.toml"), data, rows=["start"])
    (folder,) = (data.parent / "results" / "tables" / "mine").iterdir()
    both = run(write_experiment(data.parent, SETTING + ROWS, "mine.toml"), data)
    assert (
        len(both.rows) == 2
        and not (folder / "earlier").exists()
        and first.rows[0].evaluations == both.rows[0].evaluations
    )
    edited = write_experiment(
        data.parent, SETTING.replace("crop = 32", "crop = 24") + ROWS, "mine.toml"
    )
    third = run(edited, data)
    assert (
        f"the table that lay in {folder} has other figures; it is kept in {folder}/earlier/1"
        in logged
    )
    assert read_table(folder) == third and read_table(folder / "earlier" / "1") == both
    assert {path.name for path in (folder / "earlier" / "1").iterdir()} == {
        "table.md",
        "table.csv",
        "table.json",
    }
    run(edited, data)
    assert [path.name for path in (folder / "earlier").iterdir()] == ["1"]
    assert main(["table", str(folder / "earlier" / "1")]) == 0
    assert capsys.readouterr().out == f"{both}\n"


def test_two_folders_of_images_have_two_tables(data, capsys):
    """Each names its own in every form; `udonx table` of the results shows both, as they were
    printed.
    """
    file = write_experiment(data.parent, SETTING + ROWS, "mine.toml")
    shutil.copytree(data, data.parent / "other")
    tables = [run(file, data), run(file, data.parent / "other", overrides=["transform.flip=false"])]
    folders = sorted((data.parent / "results" / "tables" / "mine").iterdir())
    assert [folder.name.split("+")[:2] for folder in folders] == [["own", "data"], ["own", "other"]]
    for folder, table in zip(folders, tables, strict=True):
        assert read_table(folder) == table and table.about.data.endswith(folder.name.split("+")[1])
        for form in ("table.md", "table.csv", "table.json"):
            assert table.about.data in (folder / form).read_text()
        assert f"data: {table.about.data}" in str(table).replace("\n  ", " ")
    assert (
        "changed with --set: transform.flip=false" in str(tables[1])
        and "transform.flip=false" in (folders[1] / "table.csv").read_text()
    )
    capsys.readouterr()
    assert main(["table", str(data.parent / "results")]) == 0
    assert capsys.readouterr().out == f"{tables[0]}\n{tables[1]}\n"


def test_a_finished_run_writes_nothing(smoke_run, results):
    """So that it works on a disk that can only be read: no table, evaluation, record or line is
    written again.
    """
    before = stamps(results)
    again = udonx.run(TABLE3, setting="smoke", results=results, device="cpu")
    assert again == smoke_run.table
    watched = ("tables", "evaluations", "sacred", "runs.jsonl")
    assert {
        path: stamp
        for path, stamp in stamps(results).items()
        if path.relative_to(results).parts[0] in watched
    } == {
        path: stamp
        for path, stamp in before.items()
        if path.relative_to(results).parts[0] in watched
    }


def test_what_is_damaged_is_named_by_table_and_made_again_by_run(smoke_run, results, capsys):
    """A damaged metrics.json and a missing per_query.npz: `table` shows the other rows, `run`
    evaluates these two and trains nothing.
    """
    (udon,), (baseline,) = (smoke_run.table.row(name).evaluations for name in ("udon", "baseline"))
    damaged, missing = (
        Results(results).evaluation(udon) / "metrics.json",
        Results(results).evaluation(baseline) / "per_query.npz",
    )
    damaged.write_text(damaged.read_text()[:-20])
    missing.unlink()
    arguments = [str(TABLE3), "--setting", "smoke", "--results", str(results)]
    assert main(["table", *arguments]) == 0
    out = capsys.readouterr().out.replace("\n  ", " ")
    assert (
        "\nUDON, seed 0: " in out
        and "is no valid JSON" in out
        and "the same `udonx run` makes it again" in out
    )
    assert "UDON + dynamic sampler " in out
    assert main(["run", *arguments, "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert (
        str(damaged) in err and f"{missing} is missing; the same `udonx run` makes it again" in err
    )
    assert err.count("0 stages to train") == 2 and err.count("already there") == 5 + 2
    assert out.strip() == str(smoke_run.table)


def test_a_row_whose_stage_is_gone_says_so(smoke_run, results, capsys):
    """A deleted folder of stages/ gives no figure of steps, and no zero in its place."""
    (stage,) = smoke_run.table.row("udon").stages
    shutil.rmtree(results / "stages" / stage)
    assert main(["table", str(TABLE3), "--setting", "smoke", "--results", str(results)]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("UDON  ")]
    assert line.split()[-2:] == ["-", "-"]
    assert (
        "UDON: a stage that it was evaluated with is gone, so its steps and minutes are not known"
        in out.replace("\n  ", " ")
    )


def test_a_row_that_another_table_has_made_is_recorded_for_this_one_too(data):
    """It has a run of its own in the record, once, and its seeds belong to this table
    from then on.
    """
    text = SETTING + '[rows.NAME]\nscheme = "classification"\nsampler = "uniform"\n'
    first = write_experiment(data.parent, text.replace("NAME", "a"), "first.toml")
    second = write_experiment(data.parent, text.replace("NAME", "b"), "second.toml")
    run(first, data, seeds=[0, 1])
    run(second, data, seeds=[0, 1])
    runs = Results(data.parent / "results").runs()
    assert [(line.file, line.row, line.seed) for line in runs] == [
        ("first", "a", 0),
        ("first", "a", 1),
        ("second", "b", 0),
        ("second", "b", 1),
    ]
    for line in runs:
        record = json.loads(
            (data.parent / "results" / "sacred" / line.sacred_id / "run.json").read_text()
        )
        assert record["status"] == "COMPLETED" and record["result"]["student"]["own"]["r1"] >= 0
    assert run(second, data).row("b").seeds == (0, 1)
    assert len(Results(data.parent / "results").runs()) == 4


def test_the_last_line_says_where_the_table_is_or_that_it_was_not_written(
    data, monkeypatch, logged
):
    """With --row where another row's weights are not here nothing is written, and no folder is
    named.
    """
    text = SETTING + ROWS + '[rows.large]\nscheme = "off_the_shelf"\nbackbone = "large"\n'
    text = text.replace(
        "[setting.transform]",
        '[setting.backbones.large]\nmodel = "resnet10t"\nlocal = "nowhere"\n[setting.transform]',
    )
    run(write_experiment(data.parent, text, "mine.toml"), data, rows=["start"])
    assert (
        "the table was not written, since rows that were not asked for need start weights that are"
        " not here" in logged[-1]
    )
    assert not (data.parent / "results" / "tables").exists()
    run(write_experiment(data.parent, SETTING + ROWS, "good.toml"), data)
    (folder,) = (data.parent / "results" / "tables" / "good").iterdir()
    assert (
        f"table, CSV and JSON in {folder}; stages" in logged[-1]
        and (folder / "table.csv").is_file()
    )

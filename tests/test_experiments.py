"""Every experiment file of the project, run on the setting `smoke` in one process with one results
folder.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import attrs
import pytest

import udonx
import udonx.running.stage
from tests.tiny import ROOT
from udonx.config.experiment import load_experiments
from udonx.inputs.sources import source_problems
from udonx.planning.load import load_plan
from udonx.tables.table import Table

FOLDER = ROOT / "experiments"
STAGES = ROOT / "tests" / "data" / "smoke_stages.json"
"""The stages of every row of every file on the setting `smoke`."""
FILES = sorted(path.stem for path in FOLDER.glob("*.toml"))


@attrs.frozen
class Everything:
    """The table of every file, and how often each stage was trained."""

    tables: dict[str, Table]
    trained: Counter
    results: Path


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """`udonx run experiments/ --setting smoke`, with the training of stages counted."""
    trained: Counter = Counter()
    run_stage = udonx.running.stage.run_stage

    def counted(job):
        trained[job.id] += 1
        return run_stage(job)

    results = tmp_path_factory.mktemp("everything") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(udonx.running.stage, "run_stage", counted)
        tables = udonx.run(FOLDER, setting="smoke", results=results, device="cpu")
    return Everything(dict(zip(FILES, tables, strict=True)), trained, results)


def test_the_files_are_those_of_the_paper_and_our_own():
    """One file per table of the paper, and the sweeps beyond it."""
    assert FILES == [
        "backbones_2026",
        "continue",
        "distill_gradient",
        "dot",
        "inactive_heads",
        "inherit",
        "losses_logit",
        "losses_relation",
        "recipe",
        "sampler_interval",
        "student_dim",
        "table1_main",
        "table2_components",
        "table3_ablation",
        "table4_teachers",
        "table5_vit_small",
        "table6_backbone_size",
        "table7_per_domain_in21k",
        "table8_per_domain_clip",
        "table9_mlp_projector",
        "teacher_dim",
        "temperature",
    ]


@pytest.mark.parametrize("file", FILES)
def test_every_row_of_every_file_runs_on_smoke(everything, file):
    """Each row has figures of all eight domains; nothing is missing or skipped."""
    table = everything.tables[file]
    names = {
        row.name for row in udonx.load_experiment(FOLDER / f"{file}.toml", setting="smoke").rows
    }
    assert {row.name for row in table.rows} == names and table.missing == ()
    for row in table.rows:
        assert len(row.per_domain["r1"]) == 8 and 0 <= row.r1.mean <= 1, row.name
    assert (everything.results / "tables" / file / "smoke" / "table.md").is_file()


def test_no_stage_is_trained_twice(everything):
    """All files share a results folder: each equal stage is trained once, whichever file came
    first.
    """
    assert set(everything.trained.values()) == {1}
    wanted = {
        stage for table in everything.tables.values() for row in table.rows for stage in row.stages
    }
    assert set(everything.trained) == wanted
    # a label, a name or a role in a stage's identity would make more of them
    assert wanted == {
        stage
        for rows in json.loads(STAGES.read_text()).values()
        for stages in rows.values()
        for stage in stages
    }


def test_the_teachers_of_table_4_are_those_of_table_3(everything):
    """Table 4 needs no stage that table 3 has not trained; the Specialists of table 1 are other
    models.
    """
    third, fourth = everything.tables["table3_ablation"], everything.tables["table4_teachers"]
    of_third = {stage for row in third.rows for stage in row.stages}
    assert {stage for row in fourth.rows for stage in row.stages} <= of_third
    assert set(fourth.row("separate_teachers").stages) < set(third.row("separate_teachers").stages)
    specialists = set(everything.tables["table1_main"].row("specialist_oracle").stages)
    assert len(specialists) == 8 and not specialists & of_third


def test_running_tables_3_and_4_together_trains_no_stage_twice(tmp_path, monkeypatch):
    """Two files in one call, from nothing."""
    trained: Counter = Counter()
    run_stage = udonx.running.stage.run_stage
    monkeypatch.setattr(
        udonx.running.stage, "run_stage", lambda job: (trained.update([job.id]), run_stage(job))[1]
    )
    files = [FOLDER / "table3_ablation.toml", FOLDER / "table4_teachers.toml"]
    third, fourth = udonx.run(files, setting="smoke", results=tmp_path, device="cpu")
    assert set(trained.values()) == {1} and len(trained) == 16
    assert all(row.index == "own" for row in fourth.rows)
    assert third.row("udon").stages == fourth.row("udon").stages


def test_table_1_searches_specialists_in_their_own_domain_only(everything):
    """Specialist + Oracle has an embedding per domain, so there is no merged index; everything else
    is searched in the merged one.
    """
    for row in everything.tables["table1_main"].rows:
        assert row.index == ("own" if row.name.endswith("specialist_oracle") else "merged"), (
            row.name
        )


def test_tables_7_and_8_are_table_1_by_pre_training(everything):
    """The rows per domain are those of table 1: the same stages, the same figures."""
    first, seventh, eighth = (
        everything.tables[name]
        for name in ("table1_main", "table7_per_domain_in21k", "table8_per_domain_clip")
    )
    for name in ("ujcds", "uscrr", "udon", "specialist_oracle", "off_the_shelf_pca"):
        assert first.row(name).evaluations == seventh.row(name).evaluations
        assert first.row(f"clip_{name}").evaluations == eighth.row(name).evaluations
    assert {"small_off_the_shelf", "dinov2_off_the_shelf"} <= {row.name for row in seventh.rows}


def test_a_changed_loss_shows_on_smoke(everything):
    """On smoke no two rows of table 2 that differ in their losses have the same figures: a loss of
    one's own is seen to do something.
    """
    rows = [
        everything.tables["table2_components"].row(name)
        for name in ("baseline", "teachers", "relational", "logit", "both")
    ]
    assert len({(f"{100 * row.r1.mean:.1f}", f"{100 * row.mmp5.mean:.1f}") for row in rows}) == len(
        rows
    )


AS_IN_7C97872 = (
    "setting.optimiser.lr_heads=2e-3",
    "setting.optimiser.lr_backbone=2e-4",
    'setting.optimiser.frozen="25%"',
)


@pytest.mark.parametrize(
    ("file", "overrides"), [("smoke_stages", ()), ("smoke_stages_7c97872", AS_IN_7C97872)]
)
def test_the_stages_are_those_that_people_have_trained(file: str, overrides: tuple[str, ...]):
    """Ids of stages are a promise: what is planned on smoke does not change without a line in
    CHANGELOG.md, and with the rates that smoke had in revision 7c97872 every id is that revision's.
    """
    expected = json.loads((ROOT / "tests" / "data" / f"{file}.json").read_text())
    planned = {}
    for experiment in load_experiments(
        [FOLDER], setting="smoke", overrides=overrides, sources=source_problems
    ):
        plan = load_plan(experiment)
        planned[experiment.name] = {row.row.name: list(row.stages) for row in plan.rows}
    assert {name: planned[name] for name in expected} == expected
    assert file == "smoke_stages_7c97872" or set(planned) == set(expected)

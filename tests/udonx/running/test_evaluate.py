"""Models on data that they were not trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import udonx
from registry.contracts import EvaluationSpec
from tests.tiny import write_classes, write_domain, write_experiment
from tests.udonx.engine.small import small_job, small_spec
from udonx.config.experiment import load_experiment
from udonx.data.benchmark import Benchmark
from udonx.engine import models
from udonx.engine.errors import StageError
from udonx.engine.train import run_stage
from udonx.inputs.open import open_source
from udonx.planning.plan import Identities
from udonx.store.results import Results, Run


@pytest.fixture(scope="module")
def stages(small_benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two finished stages of different seeds, trained on three domains of the demo."""
    folders = []
    for name, seed in (("one", 0), ("two", 1)):
        folders.append(tmp_path_factory.mktemp("stages") / name)
        spec = small_spec(steps=1, validate_every=1, seed=seed)
        run_stage(small_job(folders[-1], spec, small_benchmark, id=name))
    return folders


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two domains in UnED's layout that no stage was trained on."""
    for number, domain in enumerate(("boats", "birds")):
        write_domain(tmp_path / "photos", domain, first_class=2 * number)
    return tmp_path / "photos"


def test_other_domains_are_searched_and_the_stages_compared(
    stages: list[Path], photos: Path, tmp_path: Path
) -> None:
    """Stages embed the queries of domains that they do not know; the second has a paired
    difference to the first, with its interval, in every metric that is asked for.
    """
    table = udonx.evaluate(stages, data=photos, metrics=["r1", "map_r"], results=tmp_path / "kept")
    first, second = table.rows
    assert table.domains == ("birds", "boats")
    assert [row.label for row in table.rows] == ["one", "two"]
    assert [column.name for column in table.metrics] == ["r1", "map_r"]
    assert (first.branch, first.index, first.differences) == ("student", "merged", {})
    for metric in ("r1", "map_r"):
        difference = second.differences[metric]
        expected = second.metrics[metric].mean - first.metrics[metric].mean
        assert difference.point == pytest.approx(expected)
        assert difference.interval is not None
    assert "trained on glyphs, logos, silhouettes: one; two" in table.footer
    queries = Results(tmp_path / "kept").read_queries(first.evaluations[0], "merged")
    assert len(queries.hit_Q) == 8


def test_an_evaluation_that_is_there_is_not_made_again(
    stages: list[Path], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call loads no model, and shows the same table; another metric is computed."""
    before = udonx.evaluate(stages[0], data=photos, results=tmp_path / "kept")
    load = models.load_stage
    loaded = []
    monkeypatch.setattr(models, "load_stage", lambda *args: loaded.append(args[0]) or load(*args))
    again = udonx.evaluate(stages[0], data=photos, results=tmp_path / "kept")
    assert (again, loaded) == (before, [])
    udonx.evaluate(stages[0], data=photos, metrics=["mrr"], results=tmp_path / "kept")
    assert len(loaded) == 1


def test_class_folders_are_read_as_they_lie(stages: list[Path], tmp_path: Path) -> None:
    """A folder without info_files is read as class folders; only the named domain is searched."""
    for domain in ("cups", "hats"):
        write_classes(tmp_path / "own", domain, dict.fromkeys("abcdefgh", 3))
    table = udonx.evaluate(
        stages[0], data=tmp_path / "own", domains=["hats"], results=tmp_path / "kept"
    )
    assert table.domains == ("hats",)
    assert set(table.rows[0].per_domain["r1"]) == {"hats"}


def test_a_run_and_an_evaluation_share_what_is_stored(
    stages: list[Path], small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """On a stage's own data the evaluation has the id that a table gives it: embedders, files."""
    domains = ("logos", "glyphs")
    table = udonx.evaluate(
        stages[0], data=small_benchmark.root, domains=domains, results=tmp_path / "kept"
    )
    benchmark = Benchmark.open(small_benchmark.root, domains)
    spec = EvaluationSpec(branch="student", embedders={})
    expected = Identities(benchmark).evaluation(spec, dict.fromkeys(domains, "one"))
    assert table.rows[0].evaluations == (expected,)


@pytest.mark.parametrize("branch, index", [("teacher", "own"), ("feature", "merged")])
def test_another_branch(
    stages: list[Path], small_benchmark: Benchmark, tmp_path: Path, branch: str, index: str
) -> None:
    """Teachers search the domains that they know, each its own; features search all of them."""
    table = udonx.evaluate(
        stages[0],
        data=small_benchmark.root,
        domains=["logos", "glyphs"],
        branch=branch,
        results=tmp_path / "kept",
    )
    (row,) = table.rows
    assert (row.branch, row.index, row.label) == (branch, index, f"one: {branch}")


def test_a_backbone_off_the_shelf_is_compared_too(
    stages: list[Path], small_benchmark: Benchmark, photos: Path, tmp_path: Path
) -> None:
    """A stage without training and heads gives its features, is called so, and was trained on
    nothing.
    """
    spec = small_spec(training=None, student_head=None, teacher_head=None)
    run_stage(small_job(tmp_path / "shelf", spec, small_benchmark, id="shelf"))
    table = udonx.evaluate([stages[0], tmp_path / "shelf"], data=photos, results=tmp_path / "kept")
    assert [row.label for row in table.rows] == ["one", "shelf: feature"]
    assert table.rows[1].difference is not None
    assert [note for note in table.footer if note.startswith("trained on")] == [
        "trained on glyphs, logos, silhouettes: one"
    ]


def test_a_teacher_of_another_domain_is_refused(
    stages: list[Path], photos: Path, tmp_path: Path
) -> None:
    """--branch teacher needs a teacher of every domain; the sentence names what is not known."""
    with pytest.raises(StageError, match=r"no teacher of birds, boats, only of glyphs"):
        udonx.evaluate(stages[0], data=photos, branch="teacher", results=tmp_path / "kept")


def test_what_is_no_finished_stage_is_refused(
    stages: list[Path], photos: Path, tmp_path: Path
) -> None:
    """A folder of something else, a stage that is not trained to its end, and damaged weights each
    end in one sentence.
    """
    with pytest.raises(StageError, match="is no trained stage and no other model; allowed are"):
        udonx.evaluate(photos, data=photos, results=tmp_path / "kept")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(stages[0], unfinished)
    (unfinished / "done.json").unlink()
    with pytest.raises(StageError, match="not trained to its end"):
        udonx.evaluate(unfinished, data=photos, results=tmp_path / "kept")
    damaged = tmp_path / "damaged"
    shutil.copytree(stages[0], damaged)
    weights = bytearray((damaged / "best.safetensors").read_bytes())
    weights[-1] ^= 1
    (damaged / "best.safetensors").write_bytes(weights)
    with pytest.raises(udonx.UdonxError, match=r"best.safetensors is damaged"):
        udonx.evaluate(damaged, data=photos, results=tmp_path / "kept")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({}, "--data: it is missing; give a folder of images, or --source demo"),
        ({"data": "nowhere"}, "nowhere"),
        ({"data": ".", "source": "unde"}, "did you mean 'uned'"),
        ({"data": ".", "source": "demo"}, "is 'demo', which has no folder"),
        ({"source": "demo", "metrics": ["r2"]}, '--metrics: got "r2"'),
    ],
)
def test_all_that_is_wrong_with_the_arguments_is_told(
    stages: list[Path], arguments: dict, sentence: str
) -> None:
    """No data, no such folder, source or metric: a numbered problem, before a model is loaded."""
    with pytest.raises(udonx.ConfigError) as caught:
        udonx.evaluate(stages, **arguments)
    assert sentence in str(caught.value)


def test_the_row_of_a_run_is_the_label(stages: list[Path], photos: Path, tmp_path: Path) -> None:
    """A stage in a results folder is called by the row and seed that it was trained for, not by
    those that used it later.
    """
    results = Results(tmp_path / "results")
    shutil.copytree(stages[0], results.stage("one").path)
    for row in ("udon", "flip"):
        results.append_run(
            Run(
                file="a.toml",
                setting="s",
                row=row,
                seed=3,
                stages=("teacher", "one"),
                sacred_id=None,
                resumes=None,
            )
        )
    table = udonx.evaluate(results.stage("one").path, data=photos, results=results.root)
    assert (table.rows[0].label, table.rows[0].name) == ("udon, seed 3", "one")
    assert json.loads(table.to_json())["rows"][0]["stages"] == ["one"]


def test_a_trial_of_tuning_is_called_so(stages: list[Path], photos: Path, tmp_path: Path) -> None:
    """It is not the row of that name, unless a table has the same stage as that."""
    results = Results(tmp_path / "results")
    shutil.copytree(stages[0], results.stage("one").path)
    labels = []
    for file in ("a.tune", "a"):
        run = Run(
            file=file,
            setting="s",
            row="udon",
            seed=3,
            stages=("one",),
            sacred_id=None,
            resumes=None,
        )
        results.append_run(run)
        labels.append(models.open_model(results.stage("one").path).label)
    assert labels == ["udon, a trial, seed 3", "udon, seed 3"]


def test_a_flip_at_test_time_is_an_evaluation_of_its_own(
    stages: list[Path], small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """It has the id that a row with `tta` gives it, and says so in metrics.json."""
    given = {"data": small_benchmark.root, "domains": ("logos",), "results": tmp_path / "kept"}
    (plain,), (flipped,) = (
        udonx.evaluate(stages[0], tta=tta, **given).rows for tta in ("none", "flip")
    )
    spec = EvaluationSpec(branch="student", embedders={}, tta="flip")
    expected = Identities(Benchmark.open(small_benchmark.root, ("logos",))).evaluation(
        spec, {"logos": "one"}
    )
    assert flipped.evaluations == (expected,) != plain.evaluations
    stored = Results(tmp_path / "kept").read_evaluation(expected)
    assert (stored.tta, flipped.label, plain.label) == ("flip", "one, flip", "one")


def test_an_exported_folder_is_compared_with_its_stage(
    stages: list[Path], small_benchmark: Benchmark, tmp_path: Path
) -> None:
    """Its figures are those of the stage, its label is its folder's name, and its domains are
    known; another export of the same stage is the same evaluation.
    """
    udonx.export(stages[0], tmp_path / "out")
    given = {"data": small_benchmark.root, "domains": ("logos", "glyphs")}
    table = udonx.evaluate([stages[0], tmp_path / "out"], results=tmp_path / "kept", **given)
    stage, exported = table.rows
    assert (exported.label, exported.branch, exported.unseen) == ("out", "student", ())
    assert exported.r1.mean == pytest.approx(stage.r1.mean) and exported.difference == 0
    assert "trained on glyphs, logos, silhouettes: one; out" in table.footer
    udonx.export(stages[0], tmp_path / "copy")
    udonx.export(stages[0], tmp_path / "half", dtype="float16")
    copy, half, features = (
        udonx.evaluate(tmp_path / name, results=tmp_path / "kept", **given | more).rows[0]
        for name, more in (("copy", {}), ("half", {}), ("out", {"branch": "feature"}))
    )
    assert copy.evaluations == exported.evaluations
    assert half.evaluations != exported.evaluations
    assert (features.label, features.branch) == ("out: feature", "feature")
    (tmp_path / "half" / "head.safetensors").write_bytes(b"cut off")
    with pytest.raises(StageError, match=r"half is no whole export .*; export it again"):
        udonx.evaluate(tmp_path / "half", results=tmp_path / "kept", metrics=["mrr"], **given)


def test_a_role_of_a_setting_is_the_off_the_shelf_row_of_a_table(tmp_path: Path) -> None:
    """Its evaluation is the one that `run` makes of the row, so nothing is made twice."""
    file = write_experiment(tmp_path, '[rows.start]\nscheme = "off_the_shelf"\n')
    (row,) = udonx.run(file, setting="smoke", results=tmp_path / "kept", device="cpu").rows
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.json")}
    source = load_experiment(file, setting="smoke").data
    (same,) = udonx.evaluate(
        "smoke:main",
        data=open_source(source).root,
        domains=open_source(source).domains,
        results=tmp_path / "kept",
    ).rows
    assert (same.label, same.branch, same.unseen) == ("smoke:main: feature", "feature", ())
    assert same.r1 == row.r1
    assert (
        made.items()
        <= {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.json")}.items()
    )


def test_weights_in_timms_layout_are_evaluated_as_they_are(
    stages: list[Path], photos: Path, tmp_path: Path
) -> None:
    """A folder, and the name of its model under --weights, are one backbone at one size."""
    folder = tmp_path / "weights" / "resnet10t.c3_in1k"
    udonx.export(stages[0], folder)
    for name in ("head.safetensors", "embedding.py"):
        (folder / name).unlink()
    config = json.loads((folder / "config.json").read_text())
    del config["udonx"]
    (folder / "config.json").write_text(json.dumps(config))
    given = {"data": photos, "results": tmp_path / "kept"}
    table = udonx.evaluate(
        [stages[0], folder, "resnet10t.c3_in1k"], weights=folder.parent, branch="feature", **given
    )
    stage, by_folder, by_name = table.rows
    assert by_folder.evaluations == by_name.evaluations != stage.evaluations
    assert by_folder.per_domain == stage.per_domain
    assert by_name.label == "resnet10t.c3_in1k (resnet10t.c3_in1k): feature"


@pytest.mark.parametrize(
    "given, sentence",
    [
        ("resnet10", r"resnet10 is neither here nor a model of timm; did you mean '.*resnet10"),
        ("results/stages/abc", "allowed are a folder of results/stages, one that `udonx export`"),
        ("smok:main", "unknown setting; did you mean 'smoke'"),
        ("smoke:mian", "unknown backbone role; did you mean 'main'"),
        ("resnet10t.mine", '1. resnet10t.mine: got "mine", which is an unknown tag of timm'),
    ],
)
def test_what_is_no_model_ends_in_one_sentence(photos: Path, given: str, sentence: str) -> None:
    """A name that is neither a folder nor a backbone, and weights that are not there."""
    with pytest.raises(udonx.UdonxError, match=sentence):
        udonx.evaluate(given, data=photos)

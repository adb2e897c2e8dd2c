"""Everything that can be known to be wrong before step 0, in one report."""

from __future__ import annotations

import json
import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import safetensors.torch
import timm

import udonx
from registry.backbones.timm import TimmBackbone
from tests.tiny import SETTING, write_domain, write_experiment, write_split
from udonx.config.experiment import Experiment, load_experiment
from udonx.config.problems import ConfigError
from udonx.data.benchmark import Benchmark
from udonx.inputs.open import open_images, open_inputs
from udonx.planning.plan import Plan, make_plan
from udonx.running.data_check import check_data
from udonx.running.options import RunOptions
from udonx.running.preflight import check_run

ROWS = (
    '[defaults]\nsampler = "round_robin"\n[rows.a]\nscheme = "udon"\n[rows.b]\nscheme ='
    ' "off_the_shelf"\n'
)
Usage = namedtuple("Usage", "total used free")


def preflight(experiments: list[Experiment], results: Path, **options) -> list[Plan]:
    """The plans of experiments. Raises ConfigError with all that is wrong with their run."""
    inputs, problems = open_inputs(experiments)
    problems += check_data(inputs)
    plans = [
        make_plan(each.experiment, each.data.benchmark, each.start_weights)
        for each in inputs
        if each.whole
    ]
    problems += check_run(inputs, plans, RunOptions(results=results, **options))
    if problems:
        raise ConfigError(problems)
    return plans


def narrower_weights(folder: Path) -> None:
    """Weights of the right architecture by name, of a narrower network."""
    folder.mkdir(parents=True)
    model = timm.create_model("resnet10t", channels=[2, 2, 4, 4], stem_width=4, num_classes=0)
    safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps(
            {"architecture": "resnet10t", "num_classes": 0, "mean": [0.5] * 3, "std": [0.5] * 3}
        )
    )


def test_everything_wrong_is_one_report_before_anything_is_trained(tmp_path, monkeypatch):
    """Missing images, broken JSON, a training split of one class, queries without any positive,
    weights that do not fit and a full disk are found together.
    """
    data = tmp_path / "data"
    write_domain(data, "healthy")
    for domain in ("broken", "gone", "one", "without"):
        write_domain(data, domain)
    (data / "info_files" / "broken" / "val.json").write_text("[{")
    (data / "images" / "gone" / "train_2.png").unlink()
    write_split(data, "one", "train", [3, 3, 3])
    write_split(data, "without", "test", [0, 1, 2, 3])
    narrower_weights(tmp_path / "weights" / "narrow")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 99, 1))
    file = write_experiment(tmp_path, SETTING.replace("random = true", 'local = "narrow"') + ROWS)
    with pytest.raises(udonx.ConfigError) as caught:
        udonx.run(
            file,
            data=data,
            weights=tmp_path / "weights",
            results=tmp_path / "results",
            device="cpu",
        )
    text = str(caught.value)
    for expected in (
        "broken/val.json is not valid JSON",
        "domain 'gone': 1 image is not below",
        "gone/train_2.png",
        "domain 'one': its train split has 1 class; classification needs at least 2",
        (
            "domain 'without': not one of its 4 test queries has another image of its class in the"
            " index 'test', so every score would be 0"
        ),
        "rows a, b: its model, losses or sampler cannot be built: ",
        "--results: ",
    ):
        assert expected in text, text
    assert text.startswith("6 problems") or text.startswith("7 problems"), text
    assert not (tmp_path / "results").exists()


def test_single_queries_without_positives_are_only_logged(tmp_path, logged):
    """They count as misses, which is worth a line and no error."""
    write_domain(tmp_path / "data", "cars")
    write_split(tmp_path / "data", "cars", "test", [0, 0, 1])
    experiment = load_experiment(write_experiment(tmp_path, SETTING + ROWS), data=tmp_path / "data")
    (plan,) = preflight([experiment], tmp_path / "results")
    assert "cars: 1 of 3 test queries have no positive in the index; they count as misses" in logged
    assert [row.row.name for row in plan.rows] == ["a", "b"]


def test_what_no_row_reads_is_not_asked_for(tmp_path):
    """A table of features alone needs no training split; a training row does."""
    write_domain(tmp_path / "data", "cars")
    (tmp_path / "data" / "info_files" / "cars" / "train.json").unlink()
    file = write_experiment(tmp_path, SETTING + ROWS)
    preflight(
        [load_experiment(file, data=tmp_path / "data", rows=["b"])],
        tmp_path / "results",
    )
    with pytest.raises(
        udonx.ConfigError, match=r"domain 'cars' has no train split: .*train\.json is missing"
    ):
        preflight([load_experiment(file, data=tmp_path / "data")], tmp_path / "results")


def test_a_domain_that_no_row_trains_on_needs_no_training_split(tmp_path):
    """Rows that leave it out are planned, one that trains on all domains is refused."""
    for number, domain in enumerate(("cars", "food", "new")):
        write_domain(tmp_path / "data", domain, first_class=5 * number)
    (tmp_path / "data" / "info_files" / "new" / "train.json").unlink()
    for scheme in ("udon", "separate_teachers"):  # whose teachers are asked about each domain
        rows = f'[rows.a]\nscheme = "{scheme}"\nsampler = "uniform"\ndomains = ["cars"]\n'
        rows += rows.replace("rows.a", "rows.b").replace("cars", "food")
        file = write_experiment(tmp_path, SETTING + rows)
        preflight([load_experiment(file, data=tmp_path / "data")], tmp_path / "results")
    with pytest.raises(udonx.ConfigError, match="domain 'new' has no train split"):
        overrides = ["rows.a.domains=['cars', 'new']"]
        experiment = load_experiment(file, data=tmp_path / "data", overrides=overrides)
        preflight([experiment], tmp_path / "results")


def test_a_component_that_cannot_be_built_is_found(tmp_path):
    """Options that only the component itself can judge are tried before training."""
    write_domain(tmp_path / "data", "cars")
    text = SETTING + ROWS + "[rows.a.losses.student_ce]\nm = 0.5\n"
    text += (
        "[rows.c]\nscheme = 'classification'\nsampler = { use = 'fixed', shares = { cras = 1.0"
        " } }\n"
    )
    with pytest.raises(udonx.ConfigError) as caught:
        preflight(
            [load_experiment(write_experiment(tmp_path, text), data=tmp_path / "data")],
            tmp_path / "results",
        )
    assert "row a: its model, losses or sampler cannot be built: normface has no margin" in str(
        caught.value
    )
    assert "row c: its model, losses or sampler cannot be built: " in str(
        caught.value
    ) and "cras" in str(caught.value)


def test_a_backbone_without_layers_is_found(tmp_path, monkeypatch):
    """A layer decay over a backbone that does not list its layers is refused before training."""
    monkeypatch.delattr(TimmBackbone, "layers")
    write_domain(tmp_path / "data", "cars")
    file = write_experiment(tmp_path, SETTING + ROWS + "[rows.a.optimiser]\nlayer_decay = 0.7\n")
    with pytest.raises(udonx.ConfigError, match=r"row a: .* has no layers") as caught:
        preflight([load_experiment(file, data=tmp_path / "data")], tmp_path / "results")
    assert "row b" not in str(caught.value)


def test_an_update_rule_that_cannot_be_built_is_found(tmp_path):
    """An update rule that timm does not have is refused before training, with the nearest names."""
    write_domain(tmp_path / "data", "cars")
    text = SETTING + ROWS + "[rows.a.update]\nuse = 'timm'\nopt = 'lionn'\n"
    experiment = load_experiment(write_experiment(tmp_path, text), data=tmp_path / "data")
    with pytest.raises(udonx.ConfigError, match=r"row a: .*timm does not have; did you mean lion"):
        preflight([experiment], tmp_path / "results")


BROKEN_METRIC = '''
from registry import metrics


@metrics.register("{name}")
class Broken:
    """Wrong."""

    label, depth = "broken", None

    def __call__(self, relevant_QK, relevant_Q):
        return {value}
'''


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("100 * relevant_QK[:, 0]", "gave values from 100.0 to 100.0; allowed are numbers from 0"),
        ("relevant_QK.mean()", r"gave an array of shape \(\) for 2 queries"),
        ("relevant_QK + nothing", "cannot be called: NameError: name 'nothing'"),
    ],
    ids=["percent", "mean", "mistake"],
)
def test_a_metric_that_cannot_be_computed_is_found(tmp_path, request, value, message):
    """Before anything is trained, not when the first row is evaluated."""
    name = f"broken_{request.node.callspec.id}"
    (tmp_path / "mine.py").write_text(BROKEN_METRIC.format(name=name, value=value))
    write_domain(tmp_path / "data", "cars")
    text = f'plugins = ["mine.py"]\nmetrics = ["r1", "{name}"]\n{SETTING}{ROWS}'
    experiment = load_experiment(write_experiment(tmp_path, text), data=tmp_path / "data")
    with pytest.raises(ConfigError, match=f": metrics: '{name}' {message}") as caught:
        preflight([experiment], tmp_path / "results")
    assert len(caught.value.problems) == 1


def test_classes_that_train_and_test_share_are_logged(tmp_path, logged):
    """Scores on classes that were trained on are not those of unseen classes: worth a line, with
    the domain, the split and the count.
    """
    write_domain(tmp_path / "data", "cars")
    write_split(tmp_path / "data", "cars", "train", [0, 0, 1, 1])
    write_split(tmp_path / "data", "cars", "test", [1, 1, 7, 7])
    write_split(tmp_path / "data", "cars", "val", [8, 8, 9, 9])
    experiment = load_experiment(write_experiment(tmp_path, SETTING + ROWS), data=tmp_path / "data")
    preflight([experiment], tmp_path / "results")
    assert logged == [
        "cars: 1 class of train is also in test, so its scores are not those of unseen classes"
    ]


def test_an_index_of_one_class_is_logged(tmp_path, logged):
    """Where every image of the domain is of the right class, its own-domain score says nothing."""
    write_domain(tmp_path / "data", "cars")
    write_split(tmp_path / "data", "cars", "test", [0, 0, 0])
    experiment = load_experiment(write_experiment(tmp_path, SETTING + ROWS), data=tmp_path / "data")
    preflight([experiment], tmp_path / "results")
    assert (
        "cars: the test index 'test' shows one class only, so that a search in the domain cannot"
        " miss" in logged
    )


def test_the_disk_is_asked_for_what_each_stage_keeps(tmp_path, monkeypatch):
    """A table of a large and a small model needs the sum of both, not twice the large one."""
    write_domain(tmp_path / "data", "cars")
    large = SETTING.replace(
        "[setting.transform]",
        '[setting.backbones.large]\nmodel = "resnet18"\nrandom = true\n[setting.transform]',
    )
    text = (
        large + '[defaults]\nscheme = "classification"\nsampler = "uniform"\n[rows.a]\nbackbone ='
        ' "large"\n'
    )
    small = "".join(
        f"[rows.b{number}]\noptimiser.lr_heads = 0.{number}\n" for number in range(1, 9)
    )
    experiment = load_experiment(write_experiment(tmp_path, text + small), data=tmp_path / "data")
    weights = 4 * 11_200_000  # resnet18 in float32
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 9 * weights))
    # its weights, and a checkpoint twice: 8 times; the small ones next to none
    preflight([experiment], tmp_path / "results")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 7 * weights))
    with pytest.raises(
        udonx.ConfigError, match=r"--results: .* has 0\.314 GB free, but up to 0\.358 GB are needed"
    ):
        preflight([experiment], tmp_path / "results")


def test_the_disk_is_asked_for_every_moment(tmp_path, monkeypatch):
    """A rule that takes task and distillation apart keeps one tensor more, twice for a moment."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 0))
    write_domain(tmp_path / "data", "cars")
    large = SETTING.replace(
        "[setting.transform]",
        '[setting.backbones.large]\nmodel = "resnet18"\nrandom = true\n[setting.transform]',
    )
    needed = []
    for update in ("adamw", "dot_adam"):
        text = '[rows.a]\nbackbone = "large"\nscheme = "udon"\nsampler = "uniform"\n'
        text += f'update = "{update}"\noptimiser.inactive_heads = "skip"\n'
        file = write_experiment(tmp_path / update, large + text)
        with pytest.raises(udonx.ConfigError) as caught:
            preflight([load_experiment(file, data=tmp_path / "data")], tmp_path / "results")
        needed.append(float(re.search(r"up to (\S+) GB are needed", str(caught.value))[1]))
    assert needed[1] / needed[0] == pytest.approx(10 / 8, rel=0.02)


def test_the_disk_is_asked_for_all_directions_of_a_class(tmp_path, monkeypatch):
    """Class columns of many directions each need as many times the room."""
    write_domain(tmp_path / "data", "cars")
    columns = 'student_classifier = { use = "sub_centre", k = 100_000 }\n'
    row = '[rows.a]\nscheme = "classification"\nsampler = "uniform"\n'
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 20_000_000))
    plain, wide = (
        load_experiment(write_experiment(tmp_path, SETTING + row + key), data=tmp_path / "data")
        for key in ("", columns)
    )
    preflight([plain], tmp_path / "results")
    # 2 classes of 100,000 directions of 4 dimensions in float32, eight times
    with pytest.raises(udonx.ConfigError, match=r"up to 0\.02[56]\d* GB are needed"):
        preflight([wide], tmp_path / "results")


def test_a_loss_that_ends_the_process_is_a_problem_like_any_other(tmp_path):
    """A plug-in that calls sys.exit is named with its line; nothing ends in silence."""
    write_domain(tmp_path / "data", "cars")
    (tmp_path / "mine.py").write_text(
        """import sys
from registry import losses


@losses.register("leaves")
class Leaves:
    "Leaves."

    def __call__(self, branch, batch):
        sys.exit(0)
"""
    )
    text = 'plugins = ["mine.py"]\n' + SETTING + ROWS + '[rows.a.losses.more]\nuse = "leaves"\n'
    experiment = load_experiment(write_experiment(tmp_path, text), data=tmp_path / "data")
    with pytest.raises(ConfigError, match=r"loss 'more'.* failed at .*mine.py:10: SystemExit: 0"):
        preflight([experiment], tmp_path / "results")


def test_a_fresh_run_looks_at_what_is_finished_too(tmp_path, monkeypatch):
    """--fresh trains finished stages again, so that what they need is asked for again."""
    write_domain(tmp_path / "data", "cars")
    file, results = write_experiment(tmp_path, SETTING + ROWS), tmp_path / "results"
    udonx.run(file, data=tmp_path / "data", rows="b", results=results, device="cpu")
    experiment = load_experiment(file, data=tmp_path / "data", rows="b")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 0))
    assert preflight([experiment], results)
    with pytest.raises(ConfigError, match=r"--results: .* has 0 GB free"):
        preflight([experiment], results, fresh=True)


def test_problems_of_several_files_name_the_file(tmp_path):
    """The same mistake in two files names both files' rows."""
    write_domain(tmp_path / "data", "cars")
    files = [
        write_experiment(
            tmp_path, SETTING + ROWS + "[rows.a.losses.student_ce]\nm = 0.5\n", f"{name}.toml"
        )
        for name in ("one", "two")
    ]
    with pytest.raises(
        udonx.ConfigError,
        match=r"rows? one\.a, two\.a: its model, losses or sampler cannot be built: normface",
    ):
        preflight(
            [load_experiment(file, data=tmp_path / "data") for file in files],
            tmp_path / "results",
        )


def test_a_file_without_rows_in_the_setting_is_logged(tmp_path, logged):
    """Nothing runs and no table is written where the setting has none of the backbones."""
    write_domain(tmp_path / "data", "cars")
    file = write_experiment(
        tmp_path, SETTING + '[rows.a]\nscheme = "off_the_shelf"\nbackbone = "clip"\n'
    )
    table = udonx.run(file, data=tmp_path / "data", results=tmp_path / "results", device="cpu")
    assert table.rows == () and not (tmp_path / "results" / "tables").exists()
    assert table.missing == ("not in this setting, which has no backbone 'clip': a",)
    assert logged[-1].endswith(
        "table.toml: no row of this file is in the setting 'own'; nothing was run"
    )


@pytest.mark.parametrize(("batch", "fits"), [(4096, True), (10**12, False)])
def test_a_batch_that_nothing_needs_is_refused(tmp_path, batch, fits):
    """A batch of more images than the benchmark has (and than a small one may repeat) is a problem,
    before memory is taken for it.
    """
    write_domain(tmp_path / "data", "cars")
    file = write_experiment(
        tmp_path, SETTING + '[rows.base]\nscheme = "classification"\nsampler = "round_robin"\n'
    )
    experiment = load_experiment(file, data=tmp_path / "data", overrides=[f"budget.batch={batch}"])
    if fits:
        assert preflight([experiment], tmp_path / "results")
        return
    with pytest.raises(
        ConfigError,
        match=(
            r"budget\.batch: got 1000000000000, allowed is at most 4096, for there are 6 training"
            r" images"
        ),
    ):
        preflight([experiment], tmp_path / "results")


def test_the_limits_of_the_setting_reach_the_images(tmp_path):
    """Images of one's own have the setting's limits; generated ones may never be left out, and are
    cured by drawing them again.
    """
    write_domain(tmp_path / "data", "cars")
    file = write_experiment(
        tmp_path, SETTING + '[rows.base]\nscheme = "classification"\nsampler = "round_robin"\n'
    )
    limits = ["setting.data.max_pixels=1599", "setting.data.max_unreadable=3"]
    experiment = load_experiment(file, data=tmp_path / "data", overrides=limits)
    store = open_images(experiment, Benchmark.open(tmp_path / "data"))
    assert (store.max_pixels, store.max_unreadable, store.cure) == (1599, 3, "")
    with pytest.raises(
        ConfigError, match=r"train_\d\.png is too large \(1,600 pixels, allowed are 1,599\)"
    ):
        preflight([experiment], tmp_path / "results")
    drawn = open_images(experiment, Benchmark(tmp_path / "data", ("cars",), "demo-v1"))
    assert (
        drawn.max_unreadable == 0
        and drawn.cure == f"remove the folder {tmp_path / 'data'}, and the next run draws it again"
    )


def test_a_row_that_starts_from_another_model_is_refused(tmp_path):
    """Sources of another backbone, head or number, and options that do not fit them, are sentences
    before anything is trained; those that fit are none.
    """
    write_domain(tmp_path / "data", "cars")
    rows = (
        '[setting.backbones.other]\nmodel = "resnet10t"\nrandom = true\n'
        "kwargs = { channels = [8, 8, 16, 16], stem_width = 8 }\n"
        '[defaults]\nscheme = "classification"\nsampler = "round_robin"\n'
        '[rows.first]\n[rows.narrow]\nbackbone = "other"\n[rows.short]\nstudent_head.dim = 3\n'
        '[rows.fits]\ninit = { use = "same", from = "first" }\n'
        '[rows.soup]\nscheme = "as_is"\ninit = { use = "average", from = ["first", "fits"] }\n'
        '[rows.a]\ninit = { use = "same", from = "narrow" }\n'
        '[rows.b]\ninit = { use = "average", from = ["first", "short"] }\n'
        '[rows.c]\ninit = { use = "same", from = ["first", "fits"] }\n'
        '[rows.d]\ninit = { use = "average", from = "first", weights = [1.0, 2.0] }\n'
    )
    file = write_experiment(tmp_path, SETTING + rows)
    experiment = load_experiment(file, data=tmp_path / "data")
    with pytest.raises(ConfigError) as caught:
        preflight([experiment], tmp_path / "results")
    found = {problem.rows: problem.message for problem in caught.value.problems}
    assert found.keys() == {("a",), ("b",), ("c",), ("d",)}
    assert (
        "init 'same' needs rows of the same backbone and student head, but 'backbone."
        in (found["a",])
    )
    assert "'student_head.projection.weight' is [4, 32] in this row and [3, 32]" in found["b",]
    assert "at place 2" in found["b",]
    assert "init 'same' takes one row, got 2" in found["c",]
    assert "got the weights [1.0, 2.0] for 1 rows" in found["d",]

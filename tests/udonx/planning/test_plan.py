"""From rows and seeds to stages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import attrs
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.tiny import ROOT, SETTING, write_domain, write_experiment
from udonx.config.experiment import load_experiment
from udonx.config.problems import ConfigError
from udonx.inputs.open import open_benchmark, resolve_weights
from udonx.planning.plan import Plan, make_plan
from udonx.planning.stages import learned_domains, stage_title

TABLE3 = ROOT / "experiments" / "table3_ablation.toml"


def plan(**options) -> Plan:
    """Table 3 on the setting `smoke`."""
    experiment = load_experiment(TABLE3, setting="smoke", **options)
    return make_plan(experiment, open_benchmark(experiment), resolve_weights(experiment))


def test_table3_plans_every_stage_once():
    """Baseline, eight teachers and their student, a teacher and its student, UDON twice, and two of
    no steps: 16 stages.
    """
    planned = plan()
    assert {row.row.name: len(row.stages) for row in planned.rows} == {
        "baseline": 1,
        "separate_teachers": 9,
        "multi_head_teacher": 2,
        "udon": 1,
        "udon_dynamic": 1,
        "off_the_shelf": 1,
        "off_the_shelf_pca": 1,
    }
    assert len(planned.stages) == 16
    titles = [stage_title(spec) for spec in planned.stages.values()]
    assert titles.count("student") == 3 and titles.count("student and teachers") == 2
    assert [title for title in titles if title.startswith("teacher")][-1] == "teacher with 8 heads"


def test_teachers_come_before_their_students():
    """In the order of a row's stages and of the plan's, every stage stands after those that it
    learns from.
    """
    planned = plan()
    order = list(planned.stages)
    for identity, spec in planned.stages.items():
        assert all(
            order.index(planned.identity(teacher.stage)) < order.index(identity)
            for teacher in spec.teachers
        )


def test_seeds_are_the_outer_loop_and_what_is_not_random_comes_once():
    """All rows of the first seed come before the second; off-the-shelf rows have no seed."""
    rows = plan(seeds=[3, 5], rows=["baseline", "off_the_shelf", "udon"]).rows
    assert [(row.row.name, row.seed) for row in rows] == [
        ("baseline", 3),
        ("udon", 3),
        ("off_the_shelf", None),
        ("baseline", 5),
        ("udon", 5),
    ]


def test_rows_that_need_the_same_stage_share_it():
    """A row that differs only in what its teachers do not use shares them; users
    names both rows.
    """
    planned = plan(
        overrides=[
            "rows.multi_head_teacher.scheme=separate_teachers",
            "rows.multi_head_teacher.losses.kl_logit.weight=2.0",
        ]
    )
    shared = [
        identity
        for identity, users in planned.users.items()
        if users == ["separate_teachers", "multi_head_teacher"]
    ]
    assert len(shared) == 8
    assert all(planned.stages[identity].student_head is None for identity in shared)


def test_separate_teachers_that_are_evaluated_train_no_student():
    """`evaluate = ["teacher"]` plans the teachers alone: an unneeded stage cannot appear."""
    planned = plan(
        rows=["separate_teachers"], overrides=['rows.separate_teachers.evaluate=["teacher"]']
    )
    assert len(planned.stages) == 8
    (evaluation,) = planned.rows[0].evaluations
    assert sorted(evaluation.stages.values()) == sorted(planned.stages)


def test_what_a_stage_does_not_read_is_not_in_its_identity():
    """Augmentation changes no untrained stage, a scale that no crop reads changes none, and a
    cadence counts as the steps it stands for.
    """
    before = plan()
    flipped = plan(overrides=["transform.flip=false"])
    scaled = plan(overrides=["transform.scale=[0.5,1.0]"])
    spelt = plan(overrides=["rows.udon_dynamic.sampler.interval='25%'"])
    untrained = {row.row.name: row.stages for row in before.rows if row.row.reference}
    assert {row.row.name: row.stages for row in flipped.rows if row.row.reference} == untrained
    assert set(before.stages) & set(flipped.stages) == {
        stage for stages in untrained.values() for stage in stages
    }
    assert set(scaled.stages) == set(before.stages) == set(spelt.stages)


def test_other_images_under_the_same_names_have_other_identities(tmp_path):
    """Over a copy in which every image is black no stage and no evaluation is the one of the
    original; over a plain copy all are.
    """
    write_domain(tmp_path / "given", "cars")
    for name in ("copied", "black"):
        shutil.copytree(tmp_path / "given", tmp_path / name)
    for file in (tmp_path / "black" / "images").rglob("*.png"):
        Image.new("RGB", (40, 40)).save(file)
    file = write_experiment(
        tmp_path,
        SETTING + '[rows.a]\nscheme = "udon"\nsampler = "round_robin"\n[rows.b]\nscheme ='
        ' "off_the_shelf"\n',
    )
    ids = {}
    for name in ("given", "copied", "black"):
        experiment = load_experiment(file, data=tmp_path / name)
        planned = make_plan(experiment, open_benchmark(experiment), resolve_weights(experiment))
        ids[name] = {
            *planned.stages,
            *(evaluation.id for row in planned.rows for evaluation in row.evaluations),
        }
    assert (
        len(ids["given"]) >= 4 and ids["copied"] == ids["given"] and not ids["black"] & ids["given"]
    )


def test_roles_of_the_same_bytes_keep_their_own_folders(tmp_path):
    """Two folders with equal weights and different settings of the model are two starts."""
    write_domain(tmp_path / "data", "cars")
    for name, std in (("one", 0.5), ("other", 0.25)):
        (tmp_path / name).mkdir()
        save_file({"weight": np.zeros(3)}, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(
            json.dumps({"architecture": "resnet10t", "mean": [0.5] * 3, "std": [std] * 3})
        )
    text = SETTING.replace("random = true", 'local = "one"')
    text = text.replace(
        "[setting.transform]",
        '[setting.backbones.second]\nmodel = "resnet10t"\nlocal = "other"\n\n[setting.transform]',
    )
    text += (
        '[rows.a]\nscheme = "off_the_shelf"\n[rows.b]\nscheme = "off_the_shelf"\nbackbone ='
        ' "second"\n'
    )
    experiment = load_experiment(
        write_experiment(tmp_path, text), data=tmp_path / "data", weights=tmp_path
    )
    planned = make_plan(experiment, open_benchmark(experiment), resolve_weights(experiment))
    assert [planned.weights_of(spec).folder.name for spec in planned.stages.values()] == [
        "one",
        "other",
    ]


LOGOS_LEFT_OUT = """
[setting]
inherit = "smoke"
data.domains = ["glyphs", "logos", "plates"]
[defaults]
sampler = "round_robin"
[rows.all]
scheme = "SCHEME"
domains = ["logos", "glyphs", "plates"]
[rows.plain]
scheme = "SCHEME"
[rows.fewer]
scheme = "SCHEME"
label = "{domains} domains"
domains = ["plates", "glyphs"]
"""


def plan_text(tmp_path: Path, text: str) -> Plan:
    """The plan of a file."""
    experiment = load_experiment(write_experiment(tmp_path, text))
    return make_plan(experiment, open_benchmark(experiment), resolve_weights(experiment))


@pytest.mark.parametrize(
    "scheme", ["classification", "separate_teachers", "multi_head_teacher", "udon"]
)
def test_a_row_trains_on_its_domains_and_is_evaluated_on_all(tmp_path, scheme):
    """No stage of it is of another domain, its label counts its own, and one stage embeds all; a
    row that names all domains is the row that names none.
    """
    every, plain, fewer = plan_text(tmp_path, LOGOS_LEFT_OUT.replace("SCHEME", scheme)).rows
    assert (every.stages, every.evaluations) == (plain.stages, plain.evaluations)
    (evaluation,) = fewer.evaluations
    student = evaluation.spec.embedders["logos"]
    assert list(evaluation.spec.embedders) == ["glyphs", "logos", "plates"]
    assert evaluation.spec.merged and student.domains == ("glyphs", "plates")
    assert all("logos" not in teacher.stage.domains for teacher in student.teachers)
    assert learned_domains(student) == {"glyphs", "plates"}
    assert fewer.row.label == "2 domains" and fewer.stages != plain.stages


def test_nothing_is_learned_from_a_backbone_off_the_shelf(tmp_path):
    """A row that starts from a backbone off the shelf has learned from its own domains alone."""
    text = LOGOS_LEFT_OUT.replace("SCHEME", "classification") + (
        '[rows.large]\nscheme = "off_the_shelf"\n'
        '[rows.small]\nscheme = "classification"\ndomains = ["glyphs"]\n'
        'init = { use = "inherit", from = "large" }\n'
    )
    *_, large, small = plan_text(tmp_path, text).rows
    assert learned_domains(large.evaluations[0].spec.embedders["logos"]) is None
    assert learned_domains(small.evaluations[0].spec.embedders["logos"]) == {"glyphs"}


def test_an_epoch_is_over_the_domains_that_a_row_trains_on(tmp_path):
    """Half of the images are half of the steps; the other rows' ids do not move."""
    text = LOGOS_LEFT_OUT.replace("SCHEME", "classification")
    before = plan_text(tmp_path, text)
    epochs = plan_text(tmp_path, text.replace("[defaults]", "[defaults]\nbudget.epochs = 2"))
    images = {fact.name: fact.train_images for fact in epochs.benchmark.facts}
    steps = {
        row.row.name: epochs.stages[row.stages[0]].required_training.steps for row in epochs.rows
    }
    batch = epochs.stages[epochs.rows[0].stages[0]].required_training.batch
    assert steps["plain"] == 2 * (sum(images.values()) // batch)
    assert steps["fewer"] == 2 * ((images["glyphs"] + images["plates"]) // batch)
    same = plan_text(tmp_path, text.replace('domains = ["plates", "glyphs"]', ""))
    assert same.rows[1].stages == before.rows[1].stages


def test_a_scheme_without_one_model_for_all_domains_cannot_leave_any_out(tmp_path):
    """A plug-in's models of single domains are refused in one sentence, with the domains."""
    (tmp_path / "single.py").write_text(
        """from registry import schemes
from registry.schemes.specialists import Specialists


@schemes.register("single")
class Single(Specialists):
    "One model for each domain."

    slots = Specialists.slots | {"domains"}
"""
    )
    text = 'plugins = ["single.py"]\n' + LOGOS_LEFT_OUT.replace("SCHEME", "single")
    with pytest.raises(ConfigError, match=r"row fewer: domains: 'single' has no model that embeds"):
        plan_text(tmp_path, text.replace('sampler = "round_robin"', ""))


def test_a_flip_at_test_time_is_another_evaluation_of_the_same_stage(tmp_path):
    """It trains nothing of its own; naming `none` changes no identity."""
    rows = "".join(
        f'[rows.{name}]\nscheme = "udon"\nsampler = "uniform"\n{key}'
        for name, key in (("plain", ""), ("none", 'tta = "none"\n'), ("flip", 'tta = "flip"\n'))
    )
    plain, none, flip = plan_text(tmp_path, 'setting = "smoke"\n' + rows).rows
    assert plain.stages == none.stages == flip.stages
    assert plain.evaluations == none.evaluations
    assert flip.evaluations[0].id != plain.evaluations[0].id
    assert [row.evaluations[0].spec.tta for row in (plain, flip)] == [None, "flip"]


SOUP = """
[defaults]
scheme = "classification"
sampler = "round_robin"
[rows.soup]
scheme = "as_is"
init = { use = "average", from = ["one", "two"] }
[rows.one]
[rows.two]
init = { use = "same", from = "one" }
optimiser.lr_heads = 0.1
"""


def planned_rows(tmp_path, text: str, **options) -> Plan:
    """The plan of some rows on the domains cars and food."""
    for first_class, domain in enumerate(("cars", "food")):
        write_domain(tmp_path / "data", domain, first_class=5 * first_class)
    experiment = load_experiment(
        write_experiment(tmp_path, SETTING + text), data=tmp_path / "data", **options
    )
    return make_plan(experiment, open_benchmark(experiment), resolve_weights(experiment))


def test_a_row_is_planned_after_those_that_it_starts_from(tmp_path):
    """Sources are stages of their own rows and of the same seed, and come first; the name of a row
    changes no id.
    """
    plan = planned_rows(tmp_path, SOUP, seeds=[3, 4])
    rows = {(row.row.name, row.seed): row.stages for row in plan.rows}
    for seed in (3, 4):
        (one,), (_, two) = rows["one", seed], rows["two", seed]
        assert rows["two", seed] == (one, two) and rows["soup", seed][:2] == (one, two)
        assert plan.stages[two].init.stages == (plan.stages[one],)
        soup = plan.stages[rows["soup", seed][2]]
        assert [stage.seed for stage in soup.init.stages] == [seed, seed]
        assert (soup.training, stage_title(soup)) == (None, "student, average")
    assert len(plan.stages) == 6
    renamed = planned_rows(tmp_path, SOUP.replace("one", "uno"), seeds=[3, 4])
    assert set(renamed.stages) == set(plan.stages)


def test_a_selected_row_brings_the_stages_that_it_starts_from(tmp_path):
    """`--row` plans what the row needs, and no other row."""
    plan = planned_rows(tmp_path, SOUP, rows=["two"])
    assert [row.row.name for row in plan.rows] == ["two"]
    assert [stage_title(stage) for stage in plan.stages.values()] == ["student", "student"]
    assert list(plan.users.values()) == [["two"], ["two"]]


def test_a_row_of_several_students_starts_no_other(tmp_path):
    """A row names one model for all domains: specialists are refused."""
    text = SOUP.replace("[rows.one]", '[rows.one]\nscheme = "specialists"')
    message = r'row soup: init.from: got "one", which gives 2 models, one for each domain; allowed'
    with pytest.raises(ConfigError, match=message):
        planned_rows(tmp_path, text)


def test_random_weights_that_inherit_see_the_colours_of_their_source(tmp_path):
    """A backbone without start weights, which starts from that of another row, normalises images
    as that row's start weights want it; its own start is still found.
    """
    small = """[setting.backbones.small]
model = "resnet10t"
kwargs = { channels = [8, 8, 8, 16], stem_width = 8 }
random = true
"""
    rows = """[rows.slice]
backbone = "small"
init = { use = "inherit", from = "wide" }
[rows.small]
backbone = "small"
[rows.wide]
"""
    defaults = '[defaults]\nscheme = "classification"\nsampler = "round_robin"\n'
    write_domain(tmp_path / "data", "cars")
    experiment = load_experiment(
        write_experiment(tmp_path, SETTING + small + defaults + rows), data=tmp_path / "data"
    )
    colours = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    weights = resolve_weights(experiment)
    weights["main"] = attrs.evolve(weights["main"], sha256="pretrained", **colours)
    planned = make_plan(experiment, open_benchmark(experiment), weights)
    stages = {row.row.name: planned.stages[row.stages[-1]] for row in planned.rows}
    assert stages["slice"].backbone == attrs.evolve(stages["small"].backbone, **colours)
    assert planned.weights_of(stages["slice"]) == weights["small"]

"""The shipped settings: the right weights under their right names, the official recipe, every role
filled on `smoke`.
"""

from __future__ import annotations

import pytest
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from registry import backbones
from registry.contracts import BackboneSpec, DomainFacts, Optimiser, Start
from tests.tiny import ROOT, write_domain
from tests.udonx.engine.small import small_job, small_spec
from udonx.config.experiment import load_experiment
from udonx.engine.build import build_model
from udonx.engine.load import load_stage
from udonx.engine.train import run_stage
from udonx.inputs.weights import StartWeights
from udonx.planning.plan import row_evaluations
from udonx.running.check import check

EXPERIMENTS = sorted((ROOT / "experiments").glob("*.toml"))
UNED = ["uned-in21k-s16", "uned-in21k-b16", "uned-in21k-l16", "uned-clip-b16"]
IMAGENET, HALF = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,) * 3, (0.5,) * 3)
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
# of each role: timm's name with its tag, the statistics of its images, and the width of its
# features
WEIGHTS = {
    "small": ("vit_small_patch16_224.augreg_in21k_ft_in1k", HALF, 384),
    "base": ("vit_base_patch16_224.augreg_in21k_ft_in1k", HALF, 768),
    "large": ("vit_large_patch16_224.augreg_in21k_ft_in1k", HALF, 1024),
    "clip": ("vit_base_patch16_clip_224.openai", CLIP, 768),
    "clip_large": ("vit_large_patch14_clip_224.openai", CLIP, 1024),
    "dinov2": ("vit_base_patch14_dinov2.lvd142m", IMAGENET, 768),
    "siglip": ("vit_base_patch16_siglip_224.webli", HALF, 768),
}
MAIN = {
    "uned-in21k-s16": "small",
    "uned-in21k-b16": "base",
    "uned-in21k-l16": "large",
    "uned-clip-b16": "clip",
}
# settings for backbones that are later than the paper: timm's name with its tag, the statistics of
# its images, its licence, what the setting passes on
LATER = {
    "uned-siglip2-b16": ("vit_base_patch16_siglip_224.v2_webli", HALF, "apache-2.0", {}),
    "uned-dinov3-b16": (
        "vit_base_patch16_dinov3.lvd1689m",
        IMAGENET,
        "dinov3-license",
        {"global_pool": "token"},
    ),
    "uned-pe-b16": ("vit_pe_core_base_patch16_224.fb", HALF, "apache-2.0", {}),
    "uned-radio-b16": (
        "vit_base_patch16_radio_v3.c_radio",
        CLIP,
        "nvidia-open-model-license",
        {},
    ),
}
# training images of UnED
TRAIN_IMAGES = {
    "food2k": 472349,
    "cars": 6346,
    "sop": 48942,
    "inshop": 20897,
    "inat": 273929,
    "met": 397121,
    "gldv2": 1422914,
    "rp2k": 188724,
}


@pytest.mark.parametrize("setting", UNED)
def test_the_weights_of_each_role_are_timms_own(setting):
    """Every role of a uned setting names a model and tag of timm's registry, which has it on the
    hub, with the right statistics.
    """
    roles = load_experiment(ROOT / "experiments" / "table1_main.toml", setting=setting).backbones
    assert set(roles) == {"main", *WEIGHTS} - {"base"}
    for role, backbone in roles.items():
        name, (mean, std), _ = WEIGHTS[MAIN[setting] if role == "main" else role]
        assert f"{backbone.options['model']}.{backbone.hub}" == name
        config = get_pretrained_cfg(name)
        assert (config.hf_hub_id, config.mean, config.std) == (f"timm/{name}", mean, std)


@pytest.mark.parametrize("setting", LATER)
def test_later_backbones_are_timms_own(setting):
    """The main role names a model and tag of timm's registry with the statistics and the licence
    that the setting states; nothing of the inherited model's arguments is left.
    """
    file = ROOT / "experiments" / "settings" / f"{setting}.toml"
    name, (mean, std), licence, kwargs = LATER[setting]
    experiment = load_experiment(ROOT / "experiments" / "table1_main.toml", setting=setting)
    main = experiment.backbones["main"]
    assert f"{main.options['model']}.{main.hub}" == name
    assert main.options["kwargs"] == kwargs
    config = get_pretrained_cfg(name)
    assert (config.hf_hub_id, config.mean, config.std) == (f"timm/{name}", mean, std)
    assert config.license == licence
    stated = file.read_text().partition("# Licence of the weights:")[2].partition("\n")[0]
    assert ("not Apache-2.0" in stated) == (licence != "apache-2.0")


@pytest.mark.parametrize("setting", LATER)
def test_a_table_with_a_later_backbone_checks(setting, tmp_path):
    """`udonx check` finds nothing wrong with table 1 on a folder with UnED's domains."""
    for domain in TRAIN_IMAGES:
        write_domain(tmp_path, domain)
    file = ROOT / "experiments" / "table1_main.toml"
    (experiment,) = check([file], setting=setting, data=tmp_path, results=tmp_path / "results")
    crops = {row.spec.transform.crop for row in experiment.rows if row.spec is not None}
    assert {crop % 16 for crop in crops} == {0}


@pytest.mark.parametrize("setting", LATER)
def test_a_narrow_later_backbone_trains_and_embeds(setting, small_benchmark, tmp_path):
    """A random model of the setting's kind, two narrow blocks, changes in three steps, and gives
    unit rows.
    """
    experiment = load_experiment(ROOT / "experiments" / "table1_main.toml", setting=setting)
    options = experiment.backbones["main"].options
    kwargs = {**options["kwargs"], "embed_dim": 32, "depth": 2, "num_heads": 2}
    (mean, std) = LATER[setting][1]
    backbone = BackboneSpec(
        use="timm",
        options={**options, "kwargs": kwargs},
        weights="random",
        mean=mean,
        std=std,
    )
    optimiser = Optimiser(lr_heads=2e-3, lr_backbone=2e-4, frozen=0)
    spec = small_spec(backbone=backbone, steps=3, validate_every=3, optimiser=optimiser)
    job = small_job(tmp_path / "stage", spec, small_benchmark)
    classes = {domain: len(small_benchmark.labels(domain)) for domain in spec.domains}
    before = build_model(spec, classes, None).backbone.state_dict()
    run_stage(job)
    model = load_stage(job.folder, torch.device("cpu"))
    after = model.backbone.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in before)
    embeddings_BD = model.embed(torch.full((2, 3, 32, 32), 90.0), "student")
    torch.testing.assert_close(embeddings_BD.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("role", list(WEIGHTS))
def test_the_models_are_built_as_the_official_code_builds_them(role):
    """Tanh-GELU and eps 1e-6 for the ImageNet-21k ViTs, quick-GELU, a norm before the blocks, eps
    1e-5 and no final projection for CLIP; features are the CLS token's.
    """
    roles = load_experiment(
        ROOT / "experiments" / "table1_main.toml", setting="uned-in21k-b16"
    ).backbones
    backbone = roles["main" if role == "base" else role]
    # one block tells the same and is built at once
    kwargs = {**backbone.options.get("kwargs", {}), "depth": 1}
    built = backbones.get("timm")(
        Start(folder=None, crop=224), model=backbone.options["model"], kwargs=kwargs
    )
    vit, block, x = built.model, built.model.blocks[0], torch.linspace(-3, 3, 7)
    assert built.dim == WEIGHTS[role][2] and isinstance(vit.head, nn.Identity)
    if role in ("small", "base", "large"):
        torch.testing.assert_close(block.mlp.act(x), nn.functional.gelu(x, approximate="tanh"))
        assert (
            block.norm1.eps,
            vit.norm.eps,
            vit.global_pool,
            isinstance(vit.norm_pre, nn.Identity),
        ) == (1e-6, 1e-6, "token", True)
    elif role.startswith("clip"):
        torch.testing.assert_close(block.mlp.act(x), x * torch.sigmoid(1.702 * x))
        assert (block.norm1.eps, vit.norm.eps, vit.global_pool) == (1e-5, 1e-5, "token")
        assert isinstance(vit.norm_pre, nn.LayerNorm) and vit.patch_embed.proj.bias is None


def stages_on_uned(row: str, setting: str = "uned-in21k-b16", table: str = "table1_main"):
    """The stages that a row evaluates, planned for UnED's sizes."""
    experiment = load_experiment(ROOT / "experiments" / f"{table}.toml", setting=setting)
    weights = {
        role: StartWeights(sha256=f"{backbone.options['model']}.{backbone.hub}", source="test")
        for role, backbone in experiment.backbones.items()
    }
    facts = tuple(
        DomainFacts(name=name, train_images=count, train_classes=2)
        for name, count in TRAIN_IMAGES.items()
    )
    planned = next(found for found in experiment.rows if found.name == row)
    (evaluation,) = row_evaluations(experiment, planned, 0, weights, facts)
    return list(evaluation.embedders.values())


@pytest.mark.parametrize(
    ("row", "classifier", "sampler"),
    [
        ("ujcds", "joint", "size_proportional"),
        ("ujcrr", "joint", "round_robin"),
        ("uscds", "separate", "size_proportional"),
        ("uscrr", "separate", "round_robin"),
    ],
)
def test_the_published_baselines_are_the_authors(row, classifier, sampler):
    """Joint or separate classifiers, by size or round robin; 7 of 10 epochs, frozen for two, the
    projection with the backbone; the dynamic sampler's quirks and the frozen phase's off-by-one are
    the official setting's.
    """
    stage = stages_on_uned(row)[0]
    training = stage.training
    assert (stage.classifier, training.sampler.use, training.student_head_group) == (
        classifier,
        sampler,
        "backbone",
    )
    assert (
        training.steps,
        training.batch,
        training.optimiser.frozen,
        training.optimiser.freeze,
    ) == (154_826, 128, 44_236, "official")
    assert (training.validate_every, stage.student_head.dim) == (22_118, 64)


def test_the_fair_baseline_and_udon_train_as_long_as_each_other():
    """The comparison that claims are made against has its projection among the heads and UDON's own
    221,180 steps.
    """
    fair, udon = stages_on_uned("uscrr_fair")[0].training, stages_on_uned("udon")[0].training
    assert (
        fair.steps == udon.steps == 221_180
        and fair.optimiser == udon.optimiser
        and fair.student_head_group is None
    )
    assert fair.optimiser.frozen == 44_236
    assert udon.sampler.options == {
        "interval": 1000,
        "signal": "teacher_ce",
        "window": "since_log",
        "log_interval": 2211,
    }


def test_specialists_share_the_budget_of_one_student():
    """Eight 64-d models, each with the steps that round robin gives its domain."""
    stages = stages_on_uned("specialist_oracle", "uned-clip-b16")
    assert [stage.domains for stage in stages] == [(name,) for name in TRAIN_IMAGES]
    assert sum(stage.training.steps for stage in stages) == 221_180


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_file_resolves_on_every_setting_that_needs_no_folder(path):
    """On `smoke` every row of every file is there: each role is filled."""
    load_experiment(path, setting="demo")
    assert all(row.skipped is None for row in load_experiment(path, setting="smoke").rows)


@pytest.mark.parametrize(
    "path",
    [path for path in EXPERIMENTS if path.stem not in ("backbones_2026", "inherit")],
    ids=lambda path: path.stem,
)
def test_every_file_resolves_on_uned(path):
    """No row of any file lacks its backbone in the paper's settings, but for files of other
    backbones; none is there twice where two roles are one backbone.
    """
    for setting in UNED:
        skipped = {
            row.skipped for row in load_experiment(path, setting=setting).rows if row.skipped
        }
        twice = {
            ("table1_main", "uned-clip-b16"): "clip",
            ("table6_backbone_size", "uned-in21k-l16"): "large",
        }.get((path.stem, setting))
        there = f"already there, since the backbone '{twice}' of this setting is its 'main' too"
        assert skipped == ({there} if twice else set())


@pytest.mark.parametrize(
    ("role", "setting"),
    [("clip", "uned-clip-b16"), ("large", "uned-in21k-l16"), ("small", "uned-in21k-s16")],
)
def test_a_role_of_one_setting_is_the_main_backbone_of_another(role, setting):
    """What is trained in one role is trained: another setting that has the backbone in its main
    role finds the stages.
    """
    table = {"clip": "table1_main", "large": "table6_backbone_size", "small": "table5_vit_small"}[
        role
    ]
    made = "udon" if role == "small" else f"{role}_udon"
    assert stages_on_uned(made, table=table) == stages_on_uned("udon", setting)

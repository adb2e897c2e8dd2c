"""Smaller models out of larger ones: which blocks, which slices, and equal outputs."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch

from registry.contracts import BackboneSpec, InitSpec, StageSpec, Transform
from registry.inits.inherit import inherited_blocks
from tests.udonx.engine.small import small_spec
from udonx.config.experiment import load_experiment
from udonx.engine.build import apply_init, build_model
from udonx.engine.model import Model
from udonx.inputs.weights import local_folder

CLASSES = {"glyphs": 3, "silhouettes": 4, "logos": 5}
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 255
MEAN = (0.5, 0.5, 0.5)


def vit(depth: int, heads: int, **changes: Any) -> StageSpec:
    """A stage on a ViT of so many blocks and heads of 8 dimensions."""
    size = {"depth": depth, "embed_dim": 8 * heads, "num_heads": heads}
    options = {"model": "test_vit", "kwargs": size}
    backbone = BackboneSpec(use="timm", options=options, weights="random", mean=MEAN, std=MEAN)
    return small_spec(**{"backbone": backbone, **changes})


def inherited(spec: StageSpec, source: StageSpec, **options: Any) -> tuple[Model, Model]:
    """A model that starts from a slice of another, and that other one."""
    sources = [build_model(attrs.evolve(source, seed=7), CLASSES, None)]
    model = build_model(spec, CLASSES, None)
    init = InitSpec(use="inherit", options={"head_dim": 8, **options}, stages=(source,))
    apply_init(model, init, sources)
    return model.eval(), sources[0].eval()


@pytest.mark.parametrize(
    ("there", "here", "interval_front", "even"),
    [
        (12, 3, [0, 4, 8], [0, 4, 8]),
        (12, 5, [0, 2, 4, 6, 8], [0, 2, 4, 7, 9]),
        (12, 9, list(range(9)), [0, 1, 2, 4, 5, 6, 8, 9, 10]),
        (10, 4, [0, 2, 4, 6], [0, 2, 5, 7]),
        (12, 12, list(range(12)), list(range(12))),
    ],
)
def test_blocks(there: int, here: int, interval_front: list[int], even: list[int]) -> None:
    """`interval_front` takes every k-th block from the front, as TinyCLIP does; `even` spreads."""
    assert inherited_blocks(there, here, "interval_front") == interval_front
    assert inherited_blocks(there, here, "even") == even


@pytest.mark.parametrize("depth", ["interval_front", "even"])
def test_a_model_of_the_same_size_is_the_same(depth: str) -> None:
    """Twelve blocks from twelve of the same width embed to the bit as their source."""
    model, source = inherited(vit(12, 3), vit(12, 3), depth=depth)
    for branch, domain in (("student", None), ("teacher", "logos")):
        ours, theirs = (one.embed(IMAGES, branch, domain) for one in (model, source))
        assert torch.equal(ours, theirs)


def test_a_shallower_model_has_every_other_block() -> None:
    """Five blocks from twelve are the blocks 0, 2, 4, 6 and 8 of the source."""
    model, source = inherited(vit(5, 3), vit(12, 3))
    ours, theirs = model.backbone.model.blocks, source.backbone.model.blocks
    for block, number in zip(ours, (0, 2, 4, 6, 8), strict=True):
        for name, value in block.state_dict().items():
            assert torch.equal(value, theirs[number].state_dict()[name]), name


def test_whole_heads_are_kept() -> None:
    """A model of two heads has the first two of three: their queries, keys and values, of the
    leading channels; the head after it is sliced too.
    """
    model, source = inherited(vit(1, 2), vit(1, 3))
    ours, theirs = (one.backbone.model.blocks[0].attn for one in (model, source))
    shaped = theirs.qkv.weight.reshape(3, 3, 8, 24)[:, :2, :, :16].reshape(48, 16)
    assert torch.equal(ours.qkv.weight, shaped)
    assert torch.equal(ours.qkv.bias, theirs.qkv.bias.reshape(3, 3, 8)[:, :2].reshape(48))
    assert torch.equal(ours.proj.weight, theirs.proj.weight[:16, :16])
    heads = model.student_head.projection, source.student_head.projection
    assert torch.equal(heads[0].weight, heads[1].weight[:, :16])


def test_a_narrower_convolutional_net() -> None:
    """Kernels are sliced in both channel dimensions, statistics of batches with them; a source
    without heads leaves those of the model as they are.
    """
    wide = small_spec(training=None, student_head=None, teacher_head=None)
    kwargs = {"channels": [8, 8, 8, 16], "stem_width": 8}
    options = {**wide.backbone.options, "kwargs": kwargs}
    spec = small_spec(backbone=attrs.evolve(wide.backbone, options=options))
    before = build_model(spec, CLASSES, None).named_tensors()
    model, source = inherited(spec, wide)
    found, theirs = model.named_tensors(), source.named_tensors()
    name = "backbone.model.layer4.0.conv1.weight"
    assert found[name].shape == (16, 8, 3, 3)
    assert torch.equal(found[name], theirs[name][:16, :8])
    heads = [name for name in found if not name.startswith("backbone.")]
    assert heads and all(torch.equal(found[name], before[name]) for name in heads)


@pytest.mark.parametrize(
    ("spec", "source", "options", "message"),
    [
        (vit(1, 3), vit(1, 2), {}, r"'backbone.model.cls_token' \[1, 1, 24\] it has \[1, 1, 16\]"),
        (vit(2, 2), vit(1, 2), {}, r"'backbone.model.blocks.1.* it has nothing"),
        (vit(1, 2), vit(1, 3), {"head_dim": 5}, r"qkv.weight' .*set head_dim \(now 5\)"),
        (vit(1, 2), small_spec(), {}, "of the same family and as wide and deep or more"),
    ],
)
def test_what_cannot_be_a_slice_is_refused(
    spec: StageSpec, source: StageSpec, options: dict[str, Any], message: str
) -> None:
    """A narrower, shallower or other source, and heads of another width, are one sentence."""
    with pytest.raises(ValueError, match=message):
        inherited(spec, source, **options)


def test_of_a_gated_mlp_gates_and_values_are_sliced_each_for_itself() -> None:
    """The first layer of a gated MLP holds gates above values: half of each is inherited."""

    def swiglu(width: int) -> StageSpec:
        size = {"embed_dim": width, "depth": 1, "num_heads": width // 8, "patch_size": 8}
        options = {"model": "vit_giant_patch14_dinov2", "kwargs": size}
        backbone = BackboneSpec(use="timm", options=options, weights="random", mean=MEAN, std=MEAN)
        return small_spec(backbone=backbone)

    model, source = inherited(swiglu(24), swiglu(48))
    ours, theirs = (one.named_tensors() for one in (model, source))
    (name,) = [each for each in ours if each.endswith("mlp.fc1.weight")]
    gates, values = theirs[name].chunk(2)
    rows, columns = ours[name].shape[0] // 2, ours[name].shape[1]
    assert torch.equal(ours[name][:rows], gates[:rows, :columns])
    assert torch.equal(ours[name][rows:], values[:rows, :columns])


def test_images_of_another_size_are_named() -> None:
    """Where the positions of a source are others, the sentence says that its images are."""
    larger = small_spec(transform=Transform(crop=64))
    with pytest.raises(ValueError, match=r"images of the same size, but for .*pos_embed.*crop"):
        inherited(vit(2, 2), attrs.evolve(vit(2, 3), transform=larger.transform))


@pytest.mark.parametrize("setting", ["demo", "uned_mini"])
def test_the_backbones_of_shipped_settings_are_slices_of_each_other(setting: str) -> None:
    """`middle` takes the leading channels of `main`, and `narrow` those of `middle`; the demo's
    `main` has the weights that ship.
    """
    backbones = load_experiment("inherit.toml", setting=setting).backbones

    def stage(role: str) -> StageSpec:
        options = backbones[role].options
        backbone = BackboneSpec(
            use=backbones[role].use, options=options, weights=role, mean=MEAN, std=MEAN
        )
        return small_spec(backbone=backbone, training=None, student_head=None, teacher_head=None)

    larger = build_model(stage("main"), CLASSES, local_folder(backbones["main"], None))
    for role in ("middle", "narrow"):
        model = build_model(stage(role), CLASSES, None)
        init = InitSpec(use="inherit", options={}, stages=(stage("main"),))
        apply_init(model, init, [larger])
        ours, theirs = model.named_tensors(), larger.named_tensors()
        stem = next(name for name, tensor in ours.items() if tensor.ndim == 4)
        assert len(ours[stem]) < len(theirs[stem])
        assert torch.equal(ours[stem], theirs[stem][: len(ours[stem])])
        larger = model

"""timm models as backbones: the official ViT's numbers, weights from folders, frozen batch norm,
and errors.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from registry.backbones.timm import TimmBackbone
from registry.classifiers.cosine import CosineClassifier
from registry.contracts import Start
from registry.heads.initialisers import l2_normalise
from registry.heads.linear import LinearHead
from tests.parity import below, heads_state, images_b3hw, read_arrays, tiny_vit_kwargs, vit_state

CLASSES = (7, 11, 5)
MOBILENET = "weights/mobilenetv2_100_in1k"


@pytest.fixture(scope="module")
def arrays(shared_dir: Path):
    return below(read_arrays(shared_dir, "forward"), "udon_vit/") | {
        "input": read_arrays(shared_dir, "forward")["input_nhwc"]
    }


@pytest.fixture(scope="module")
def tiny_vit(arrays):
    """The official two-layer ViT as a timm model, with its weights."""
    backbone = TimmBackbone(
        Start(folder=None, crop=32), model="vit_tiny_patch16_224", kwargs=tiny_vit_kwargs()
    )
    backbone.model.load_state_dict(vit_state(below(arrays, "params/")))
    return backbone.eval()


def close(got, expected):
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=0, atol=2e-6)


def test_every_intermediate_of_the_vit_is_the_official_one(arrays, tiny_vit):
    """Patches, position embedding, both blocks and the final norm of timm's ViT have the official
    values.
    """
    model, seen = tiny_vit.model, {}
    modules = {
        "embedding": model.patch_embed,
        "Transformer/posembed_input": model.pos_drop,
        "Transformer/encoderblock_0": model.blocks[0],
        "Transformer/encoderblock_1": model.blocks[1],
        "Transformer/encoder_norm": model.norm,
    }
    hooks = [
        module.register_forward_hook(
            lambda _, __, output, name=name: seen.__setitem__(name, output)
        )
        for name, module in modules.items()
    ]
    tiny_vit(images_b3hw(arrays["input"]))
    for hook in hooks:
        hook.remove()
    for name in modules:
        expected = arrays[f"intermediates/{name}"]
        close(seen[name].reshape(expected.shape), expected)


@pytest.mark.parametrize("domain", [0, 1, 2])
def test_embeddings_and_cosines_of_the_whole_model_are_the_official_ones(arrays, tiny_vit, domain):
    """From images to normalised features, both embeddings and both cosines of every domain, the
    values are the official ones.
    """
    states = heads_state(below(arrays, "params/"), len(CLASSES))
    features_BF = l2_normalise(tiny_vit(images_b3hw(arrays["input"])))
    stored = below(arrays, f"train_domain{domain}/")
    close(features_BF, stored["embeddings/backbone_out"])
    for role, name, dim in (("student", "universal_student", 64), ("teacher", "teacher", 256)):
        head, classifier = LinearHead(64, dim), CosineClassifier(dim, CLASSES[domain])
        head.load_state_dict(
            states["student_head" if role == "student" else f"teacher_head/{domain}"]
        )
        classifier.load_state_dict(states[f"{role}_classifier/{domain}"])
        embedding = head(features_BF)
        close(embedding, stored[f"embeddings/{name}_embedd"])
        close(classifier(embedding), stored[f"classifier/{name}_logits"])


def test_exact_gelu_is_not_the_official_vit(arrays, tiny_vit):
    """Without `act_layer = "gelu_tanh"` the normalised features differ by more than rounding, so
    the option is needed.
    """
    kwargs = {key: value for key, value in tiny_vit_kwargs().items() if key != "act_layer"}
    exact = TimmBackbone(
        Start(folder=None, crop=32), model="vit_tiny_patch16_224", kwargs=kwargs
    ).eval()
    exact.model.load_state_dict(tiny_vit.model.state_dict())
    features_BF = l2_normalise(exact(images_b3hw(arrays["input"]))).detach().numpy()
    assert np.abs(features_BF - arrays["train_domain0/embeddings/backbone_out"]).max() > 1e-5


@pytest.mark.parametrize(
    "model", ["test_vit", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_models_of_one_input_size_are_built_for_the_crop(model):
    """Models that timm builds for one input size are built for the start's crop."""
    backbone = TimmBackbone(Start(folder=None, crop=64), model=model)
    assert backbone(torch.zeros(2, 3, 64, 64)).shape == (2, backbone.dim)


@pytest.mark.parametrize(("kwargs", "dim"), [({}, 512), ({"global_pool": "catavgmax"}, 1024)])
def test_dim_is_the_width_of_the_output(kwargs, dim):
    """`dim` is what comes out, also where pooling doubles it."""
    backbone = TimmBackbone(Start(folder=None, crop=32), model="resnet10t", kwargs=kwargs)
    assert backbone.dim == backbone.eval()(torch.zeros(1, 3, 32, 32)).shape[1] == dim


def test_the_folder_of_a_real_network_loads(shared_dir: Path):
    """MobileNetV2's folder gives every stored tensor, and the features of timm's own loading."""
    folder = shared_dir / MOBILENET
    backbone = TimmBackbone(Start(folder=folder, crop=64), model="mobilenetv2_100").eval()
    own = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    state = backbone.model.state_dict()
    for name, value in load_file(folder / "model.safetensors").items():
        assert torch.equal(state[name], value), name
    images_B3HW = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(backbone(images_B3HW), own(images_B3HW), rtol=1e-4, atol=1e-4)


def test_kwargs_that_the_folder_states_too_do_not_clash(shared_dir: Path):
    """An argument in kwargs that the folder's config also holds is taken from kwargs."""
    backbone = TimmBackbone(
        Start(folder=shared_dir / MOBILENET, crop=64),
        model="mobilenetv2_100",
        kwargs={"pad_type": ""},
    )
    assert backbone.model.conv_stem.padding == (1, 1)


def save_folder(folder: Path, model: str, state: dict, **config) -> Path:
    """Writes a folder as timm's own export lays it out."""
    folder.mkdir()
    cfg = {
        "architecture": model,
        "num_classes": 0,
        "pretrained_cfg": {"num_classes": 0, "input_size": [3, 160, 160]},
    } | config
    (folder / "config.json").write_text(json.dumps(cfg), encoding="utf-8")
    save_file(
        {name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors"
    )
    return folder


def test_half_precision_files_load_into_float32(tmp_path: Path):
    """float16 weights on disk become float32 parameters of the same values."""
    state = timm.create_model("test_vit", num_classes=0).half().state_dict()
    backbone = TimmBackbone(
        Start(folder=save_folder(tmp_path / "half", "test_vit", state), crop=160), model="test_vit"
    )
    for name, value in backbone.model.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, state[name].float()), name


def test_position_embeddings_are_resized_to_the_crop(tmp_path: Path):
    """A ViT's folder saved at 160 pixels starts a backbone of 64 pixels."""
    state = timm.create_model("test_vit", num_classes=0).state_dict()
    backbone = TimmBackbone(
        Start(folder=save_folder(tmp_path / "vit", "test_vit", state), crop=64), model="test_vit"
    )
    assert backbone.model.pos_embed.shape[1] == 1 + (64 // 16) ** 2
    assert torch.equal(backbone.model.blocks[0].attn.qkv.weight, state["blocks.0.attn.qkv.weight"])


def test_a_stored_classifier_is_dropped(tmp_path: Path):
    """Weights with a classifier load without it."""
    state = timm.create_model("resnet10t", num_classes=4).state_dict()
    cfg = {
        "num_classes": 4,
        "pretrained_cfg": {"num_classes": 4, "input_size": [3, 160, 160], "classifier": "fc"},
    }
    folder = save_folder(tmp_path / "classifier", "resnet10t", state, **cfg)
    assert TimmBackbone(Start(folder=folder, crop=32), model="resnet10t").dim == 512


def test_weights_that_lack_tensors_are_refused(tmp_path: Path):
    """A file without some of the model's tensors is an error, though timm would leave them at
    random in silence.
    """
    state = timm.create_model("resnet10t", num_classes=4).state_dict()
    del state["layer1.0.conv1.weight"]
    cfg = {
        "num_classes": 4,
        "pretrained_cfg": {"num_classes": 4, "input_size": [3, 160, 160], "classifier": "fc"},
    }
    folder = save_folder(tmp_path / "short", "resnet10t", state, **cfg)
    with pytest.raises(
        ValueError, match=r"lack 1 of the model's tensors, such as layer1\.0\.conv1\.weight"
    ):
        TimmBackbone(Start(folder=folder, crop=32), model="resnet10t")


def test_weights_that_do_not_fit_are_refused(tmp_path: Path):
    """A file whose tensors have other names than the model's is an error that names them."""
    state = timm.create_model("resnet10t", num_classes=0).state_dict()
    state["layer1.0.conv1.wight"] = state.pop("layer1.0.conv1.weight")
    folder = save_folder(tmp_path / "misnamed", "resnet10t", state)
    with pytest.raises(
        ValueError,
        match=(
            r"backbone resnet10t: the weights in .* do not fit the model:"
            r" .*layer1\.0\.conv1\.weight"
        ),
    ):
        TimmBackbone(Start(folder=folder, crop=32), model="resnet10t")


def test_fixed_batch_norm_keeps_its_statistics_and_learns_its_scale():
    """In training mode a fixed batch norm normalises with stored statistics and leaves them; its
    affine parameters get gradients.
    """
    torch.manual_seed(0)
    backbone = TimmBackbone(Start(folder=None, crop=32), model="resnet10t").train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    images_B3HW = torch.randn(4, 3, 32, 32)
    features_BF = backbone(images_B3HW)
    features_BF.sum().backward()
    assert all(torch.equal(before[name], value) for name, value in backbone.named_buffers())
    assert backbone.model.bn1.weight.grad.abs().max() > 0
    torch.testing.assert_close(backbone(images_B3HW[:1]), features_BF[:1], rtol=1e-4, atol=1e-5)
    assert backbone.training and backbone.model.training


def test_training_batch_norm_follows_its_batches():
    """With `batch_norm = "training"` the running statistics move in training mode."""
    backbone = TimmBackbone(
        Start(folder=None, crop=32), model="resnet10t", batch_norm="training"
    ).train()
    before = backbone.model.bn1.running_mean.clone()
    backbone(torch.randn(4, 3, 32, 32))
    assert not torch.equal(before, backbone.model.bn1.running_mean)


@pytest.mark.parametrize(
    ("model", "expected"),
    [("resnet10t", True), ("test_convnext", True), ("test_vit", False), ("mixer_s32_224", False)],
)
def test_auto_layout_is_channels_last_for_convolutional_models(model, expected):
    """Models with convolutions beside a patch embedding use channels_last; the others stay
    contiguous.
    """
    backbone = TimmBackbone(Start(folder=None, crop=64), model=model)
    assert (backbone.memory_format == torch.channels_last) is expected


def test_layout_does_not_change_the_features():
    """The two memory formats give the same features."""
    torch.manual_seed(0)
    last, plain = (
        TimmBackbone(Start(folder=None, crop=32), model="resnet10t", layout=layout).eval()
        for layout in ("channels_last", "contiguous")
    )
    plain.load_state_dict(last.state_dict())
    images_B3HW = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(last(images_B3HW), plain(images_B3HW), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "kwargs", "message"),
    [
        ("resnet10z", {}, "backbone resnet10z: timm .* has no such model; did you mean resnet10t"),
        (
            "mobilenetv2_100",
            {"pad_typ": "same"},
            "backbone mobilenetv2_100: kwargs has 'pad_typ', but timm's .* takes no such argument",
        ),
        (
            "mobilenetv2_100",
            {"channel_multiplier": 2},
            "backbone mobilenetv2_100: kwargs has 'channel_multiplier', but .* sets it itself",
        ),
        (
            "test_vit",
            {"act_layer": "gelu_tan"},
            "backbone test_vit: kwargs has act_layer = 'gelu_tan', which timm does not know",
        ),
        (
            "test_vit",
            {"img_size": 64},
            (
                "backbone test_vit: kwargs may not set 'img_size': the input size is the"
                " transform's crop"
            ),
        ),
        (
            "test_vit",
            {"global_pool": ""},
            "backbone test_vit: gives features of shape .* not a vector",
        ),
    ],
)
def test_mistakes_are_said_in_one_sentence(model, kwargs, message):
    """An unknown model, argument or value is a ValueError that names the model and the key."""
    with pytest.raises(ValueError, match=message):
        TimmBackbone(Start(folder=None, crop=64), model=model, kwargs=kwargs)


def test_a_folder_must_hold_the_model_that_is_named(shared_dir: Path, tmp_path: Path):
    """A folder of another architecture, and a folder without config.json, are refused."""
    with pytest.raises(
        ValueError, match=r"backbone resnet10t: the folder .* holds mobilenetv2_100"
    ):
        TimmBackbone(Start(folder=shared_dir / MOBILENET, crop=64), model="resnet10t")
    with pytest.raises(ValueError, match=r"backbone resnet10t: .*config\.json is absent"):
        TimmBackbone(Start(folder=tmp_path, crop=64), model="resnet10t")


@pytest.mark.parametrize(
    "key",
    [
        "checkpoint_path",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "cache_dir",
        "scriptable",
        "features_only",
        "in_chans",
        "dtype",
    ],
)
def test_timms_own_switches_are_refused(key, tmp_path: Path):
    """What would load a file or build another kind of model is refused in kwargs and in a folder's
    model_args; nothing is opened.
    """
    with pytest.raises(ValueError, match=f"backbone resnet10t: kwargs may not set '{key}': "):
        TimmBackbone(
            Start(folder=None, crop=32),
            model="resnet10t",
            kwargs={key: str(tmp_path / "absent.pth")},
        )
    state = timm.create_model("resnet10t", num_classes=0).state_dict()
    folder = save_folder(
        tmp_path / "given", "resnet10t", state, model_args={key: str(tmp_path / "absent.pth")}
    )
    with pytest.raises(
        ValueError, match=rf"backbone resnet10t: model_args of .*config\.json may not set '{key}': "
    ):
        TimmBackbone(Start(folder=folder, crop=32), model="resnet10t")


@pytest.mark.parametrize(("model", "crop"), [("xcit_nano_12_p8_224", 60), ("test_vit", 60)])
def test_a_crop_that_a_model_does_not_take_is_one_sentence(model, crop):
    """Models state their limits in asserts; the sentence names the model and the crop."""
    with pytest.raises(
        ValueError,
        match=(
            f"backbone {model}: timm .* cannot build it for images of {crop} x {crop}:"
            " AssertionError"
        ),
    ):
        TimmBackbone(Start(folder=None, crop=crop), model=model)


@pytest.mark.parametrize("content", [b"", b"x" * 5, b"x" * 500, "half"])
def test_a_broken_file_of_weights_is_one_sentence(content, tmp_path: Path):
    """Empty, short, random and cut off files are a ValueError that names the folder."""
    folder = save_folder(
        tmp_path / "broken", "resnet10t", timm.create_model("resnet10t", num_classes=0).state_dict()
    )
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000] if content == "half" else content)
    with pytest.raises(
        ValueError,
        match=(
            r"backbone resnet10t: timm .* cannot build it .* with the weights in .*broken: \w*Error"
        ),
    ):
        TimmBackbone(Start(folder=folder, crop=32), model="resnet10t")

"""Where start weights are found, and what is said where they are not."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import pytest
from safetensors.numpy import save_file

from udonx.common.files import sha256_file
from udonx.inputs.weights import (
    SHIPPED,
    BackboneConfig,
    StartWeights,
    WeightsError,
    problem_of,
    resolve,
    search_folders,
)

BACKBONE = BackboneConfig(
    role="main",
    use="timm",
    options={"model": "resnet10t"},
    version=1,
    local="mine",
    hub=None,
    random=False,
)


def write_weights(folder: Path, content: bytes = b"weights", **config) -> Path:
    """A folder in timm's layout; its one tensor holds `content`."""
    folder.mkdir(parents=True)
    save_file({"weight": np.frombuffer(content, dtype=np.uint8)}, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"architecture": "resnet10t", "mean": [0.5] * 3, "std": [0.5] * 3, **config})
    )
    return folder


def test_a_local_folder_gives_its_hash_statistics_and_arguments(tmp_path):
    """The identity is the sha256 of the weights' bytes; mean, std and model_args come from the
    folder's config.
    """
    write_weights(
        tmp_path / "mine",
        mean=[1, 2, 3],
        model_args={"width": 2},
        pretrained_cfg={"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]},
    )
    assert resolve(BACKBONE, tmp_path) == StartWeights(
        sha256=sha256_file(tmp_path / "mine" / "model.safetensors"),
        source=str(tmp_path / "mine"),
        folder=tmp_path / "mine",
        model_args={"width": 2},
        mean=(0.1, 0.2, 0.3),
        std=(1, 1, 1),
    )


def test_other_bytes_are_other_weights(tmp_path):
    """A changed file has another identity, though its hash was cached."""
    folder = write_weights(tmp_path / "mine")
    before = resolve(BACKBONE, tmp_path).sha256
    save_file({"weight": np.zeros(9)}, folder / "model.safetensors")
    assert resolve(BACKBONE, tmp_path).sha256 == sha256_file(folder / "model.safetensors") != before


def test_folders_are_looked_up_in_order(tmp_path, monkeypatch):
    """--weights comes before UDONX_WEIGHTS, which comes before the package's own."""
    write_weights(tmp_path / "first" / "mine", b"1")
    write_weights(tmp_path / "second" / "mine", b"2")
    monkeypatch.setenv("UDONX_WEIGHTS", f"{tmp_path / 'nowhere'}:{tmp_path / 'second'}")
    assert search_folders(tmp_path / "first") == [
        tmp_path / "first",
        tmp_path / "nowhere",
        tmp_path / "second",
        SHIPPED,
    ]
    assert resolve(BACKBONE, tmp_path / "first").folder == tmp_path / "first" / "mine"
    assert resolve(BACKBONE, None).folder == tmp_path / "second" / "mine"


def test_a_folder_of_the_hubs_name_is_found_too(tmp_path):
    """Weights downloaded as MODEL.TAG need no network."""
    write_weights(tmp_path / "resnet10t.c3_in1k")
    assert (
        resolve(attrs.evolve(BACKBONE, local=None, hub="c3_in1k"), tmp_path).folder
        == tmp_path / "resnet10t.c3_in1k"
    )


def test_a_preferred_folder_takes_the_place_of_the_hubs_and_may_be_missing(tmp_path):
    """It is passed over where it holds another model, and never counts where `local` says which
    folder.
    """
    hub = attrs.evolve(BACKBONE, local=None, hub="c3_in1k", prefer="mine")
    assert problem_of(hub, tmp_path) is None
    write_weights(tmp_path / "hub" / "resnet10t.c3_in1k")
    assert resolve(hub, tmp_path / "hub").folder == tmp_path / "hub" / "resnet10t.c3_in1k"
    write_weights(tmp_path / "hub" / "mine", architecture="resnet18")
    assert resolve(hub, tmp_path / "hub").folder == tmp_path / "hub" / "resnet10t.c3_in1k"
    write_weights(tmp_path / "both" / "mine")
    write_weights(tmp_path / "both" / "resnet10t.c3_in1k")
    assert resolve(hub, tmp_path / "both").folder == tmp_path / "both" / "mine"
    assert "needs the weights 'miine'" in problem_of(
        attrs.evolve(hub, local="miine"), tmp_path / "both"
    )


def test_random_weights_are_used_only_where_the_setting_says_so(tmp_path):
    """Without a folder, `random` initialises from the seed; without `random` it is an error that
    says where was looked and what to do.
    """
    assert resolve(attrs.evolve(BACKBONE, local=None, random=True), tmp_path).sha256 == "random"
    message = problem_of(BACKBONE, tmp_path)
    assert (
        "needs the weights 'mine'" in message
        and str(tmp_path) in message
        and "--weights DIR or UDONX_WEIGHTS" in message
    )
    with pytest.raises(WeightsError, match="needs the weights 'mine'"):
        resolve(BACKBONE, tmp_path)


def test_weights_on_the_hub_are_no_problem_before_they_are_fetched(tmp_path, monkeypatch):
    """A check needs no network; where the hub cannot be reached, the sentence names the download
    that would help.
    """
    hub = attrs.evolve(BACKBONE, local=None, hub="c3_in1k")
    assert problem_of(hub, tmp_path) is None
    import huggingface_hub

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(
        WeightsError,
        match=(
            r"the hub gave ConnectionError; .*hf download timm/resnet10t.c3_in1k --local-dir"
            r" DIR/resnet10t"
        ),
    ):
        resolve(hub, tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            '{"architecture": "vit", "mean": [0, 0, 0], "std": [1, 1, 1]}',
            "holds weights of 'vit', but backbone 'main' is 'resnet10t'",
        ),
        ("{", "is not valid JSON"),
        ("[]", "holds no JSON object"),
        (None, "lacks config.json"),
    ],
)
def test_a_folder_that_does_not_fit_is_told(tmp_path, config, message):
    """Another architecture, a broken or a missing config.json: one sentence, found
    without torch.
    """
    folder = write_weights(tmp_path / "mine")
    if config is None:
        (folder / "config.json").unlink()
    else:
        (folder / "config.json").write_text(config)
    assert message in problem_of(BACKBONE, tmp_path)


@pytest.mark.parametrize("other", [{"hub": "c3_in1k"}, {"random": True}])
def test_a_stated_folder_is_found_or_is_an_error(tmp_path, other):
    """A misspelt `local` never falls through to the hub, to its folder or to random weights; what
    is there is named.
    """
    write_weights(tmp_path / "resnet10t.c3_in1k")
    write_weights(tmp_path / "good")
    backbone = attrs.evolve(BACKBONE, local="goood", **other)
    message = problem_of(backbone, tmp_path)
    assert (
        "needs the weights 'goood'" in message
        and "; there are good, resnet10t.c3_in1k, " in message
    )
    assert ("`local = false` takes timm/resnet10t.c3_in1k from timm's hub instead" in message) == (
        "hub" in other
    )
    with pytest.raises(WeightsError, match="needs the weights 'goood'"):
        resolve(backbone, tmp_path)


def test_random_weights_do_not_depend_on_the_folders_that_are_there(tmp_path):
    """`random` beside an inherited tag of the hub is random, though a folder of that name lies
    there.
    """
    write_weights(tmp_path / "resnet10t.c3_in1k")
    assert (
        resolve(attrs.evolve(BACKBONE, local=None, hub="c3_in1k", random=True), tmp_path).sha256
        == "random"
    )


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 500, "cut off"])
def test_a_broken_file_of_weights_is_found_before_torch(tmp_path, content):
    """Empty, short, random and cut off files are one sentence of the check."""
    file = write_weights(tmp_path / "mine", b"0" * 1000) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:500] if content == "cut off" else content)
    assert "mine/model.safetensors is no whole safetensors file (" in problem_of(BACKBONE, tmp_path)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"architecture": 3}, "architecture"),
        ({"architecture": None}, "architecture"),
        ({"model_args": [1]}, "model_args"),
        ({"pretrained_cfg": "x"}, "pretrained_cfg"),
        ({"pretrained_cfg": {"std": [1, 1, 1]}}, "pretrained_cfg.mean"),
        ({"mean": "half"}, "pretrained_cfg.mean"),
        ({"mean": [0.5, 0.5]}, "pretrained_cfg.mean"),
        ({"std": [1, 1, "1"]}, "pretrained_cfg.std.2"),
        ({"std": [1, 1, 0]}, "pretrained_cfg.std.2"),
        ({"mean": [float("nan")] * 3}, "pretrained_cfg.mean.0"),
        ({"model_args": {"checkpoint_path": "x.pth"}}, "model_args.checkpoint_path"),
    ],
)
def test_an_odd_config_is_one_sentence(tmp_path, config, key):
    """A value of a wrong type, size or range in config.json is named with its key."""
    write_weights(tmp_path / "mine", **config)
    assert f"mine/config.json: {key}" in problem_of(BACKBONE, tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 100_000, b'"' + b"1" * 10, b"1" * 5000])
def test_a_config_that_is_no_json_is_one_sentence(tmp_path, content):
    """Bytes that are no text, endless nesting, half a text and a number of thousands of digits."""
    (write_weights(tmp_path / "mine") / "config.json").write_bytes(content)
    assert "mine/config.json is not valid JSON" in problem_of(BACKBONE, tmp_path)


def test_a_damaged_cache_of_hashes_is_made_anew(tmp_path, monkeypatch):
    """Whatever stands in it, the weights' hash is computed from their bytes."""
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path / "cache"))
    write_weights(tmp_path / "mine")
    expected = resolve(BACKBONE, tmp_path)
    for content in ("null", "3", '{"a": 1}', "[]", "{"):
        (tmp_path / "cache" / "weights.json").write_text(content)
        assert resolve(BACKBONE, tmp_path) == expected

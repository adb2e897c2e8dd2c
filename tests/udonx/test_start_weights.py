"""Where start weights are found, and what is said where they are not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import attrs
import pytest

from udonx.start_weights import SHIPPED, BackboneConfig, StartWeights, WeightsError, problem_of, resolve, search_folders

BACKBONE = BackboneConfig(role="main", use="timm", options={"model": "resnet10t"}, version=1, local="mine", hub=None, random=False)


def write_weights(folder: Path, content: bytes = b"weights", **config) -> Path:
    """A folder in timm's layout; its weights are never opened here."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet10t", "mean": [0.5] * 3, "std": [0.5] * 3, **config}))
    return folder


def test_a_local_folder_gives_its_hash_statistics_and_arguments(tmp_path):
    """The identity is the sha256 of the weights' bytes; mean, std and model_args come from the folder's config."""
    write_weights(tmp_path / "mine", mean=[1, 2, 3], model_args={"width": 2}, pretrained_cfg={"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]})
    assert resolve(BACKBONE, tmp_path) == StartWeights(
        sha256=hashlib.sha256(b"weights").hexdigest(),
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
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert resolve(BACKBONE, tmp_path).sha256 == hashlib.sha256(b"other weights").hexdigest() != before


def test_folders_are_looked_up_in_order(tmp_path, monkeypatch):
    """--weights comes before UDONX_WEIGHTS, which comes before the package's own."""
    write_weights(tmp_path / "first" / "mine", b"1")
    write_weights(tmp_path / "second" / "mine", b"2")
    monkeypatch.setenv("UDONX_WEIGHTS", f"{tmp_path / 'nowhere'}:{tmp_path / 'second'}")
    assert search_folders(tmp_path / "first") == [tmp_path / "first", tmp_path / "nowhere", tmp_path / "second", SHIPPED]
    assert resolve(BACKBONE, tmp_path / "first").folder == tmp_path / "first" / "mine"
    assert resolve(BACKBONE, None).folder == tmp_path / "second" / "mine"


def test_a_folder_of_the_hubs_name_is_found_too(tmp_path):
    """Weights downloaded as MODEL.TAG need no network."""
    write_weights(tmp_path / "resnet10t.c3_in1k")
    assert resolve(attrs.evolve(BACKBONE, hub="c3_in1k"), tmp_path).folder == tmp_path / "resnet10t.c3_in1k"


def test_random_weights_are_used_only_where_the_setting_says_so(tmp_path):
    """Without a folder, `random` initialises from the seed; without `random` it is an error that says where was looked and what to do."""
    assert resolve(attrs.evolve(BACKBONE, random=True), tmp_path).sha256 == "random"
    message = problem_of(BACKBONE, tmp_path)
    assert "needs the weights 'mine'" in message and str(tmp_path) in message and "--weights DIR or UDONX_WEIGHTS" in message
    with pytest.raises(WeightsError, match="needs the weights 'mine'"):
        resolve(BACKBONE, tmp_path)


def test_weights_on_the_hub_are_no_problem_before_they_are_fetched(tmp_path, monkeypatch):
    """A check needs no network; where the hub cannot be reached, the sentence names the download that would help."""
    hub = attrs.evolve(BACKBONE, hub="c3_in1k")
    assert problem_of(hub, tmp_path) is None
    import huggingface_hub

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(WeightsError, match=r"the hub gave ConnectionError; .*hf download timm/resnet10t.c3_in1k --local-dir DIR/mine"):
        resolve(hub, tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"architecture": "vit"}', "holds weights of 'vit', but backbone 'main' is 'resnet10t'"),
        ("{", "is not valid JSON"),
        ("[]", "holds no JSON object"),
        (None, "lacks config.json"),
    ],
)
def test_a_folder_that_does_not_fit_is_told(tmp_path, config, message):
    """Another architecture, a broken or a missing config.json: one sentence, found without torch."""
    folder = write_weights(tmp_path / "mine")
    if config is None:
        (folder / "config.json").unlink()
    else:
        (folder / "config.json").write_text(config)
    assert message in problem_of(BACKBONE, tmp_path)

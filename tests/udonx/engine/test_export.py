"""Exported backbones, read back by timm itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from registry.contracts import BackboneSpec
from tests.udonx.engine.small import small_job, small_spec
from udonx.data.benchmark import Benchmark
from udonx.engine.export import export_backbone
from udonx.engine.folder import StageFolder
from udonx.engine.load import load_stage
from udonx.engine.train import run_stage

BACKBONES = {
    "resnet10t": small_spec().backbone.options,
    "vit_tiny_patch16_224": {
        "model": "vit_tiny_patch16_224",
        "kwargs": {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "act_layer": "gelu_tanh"},
    },
}


@pytest.mark.parametrize("model", BACKBONES)
def test_timm_reads_it(small_benchmark: Benchmark, tmp_path: Path, model: str) -> None:
    """`timm.create_model("local-dir:...", pretrained=True)` gives the stage's features, and a later stage starts from the same."""
    backbone = BackboneSpec(use="timm", options=BACKBONES[model], weights="random", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    run_stage(small_job(tmp_path / "stage", small_spec(backbone=backbone, steps=2, validate_every=2), small_benchmark))
    trained = load_stage(StageFolder(tmp_path / "stage"), torch.device("cpu"))
    out = export_backbone(tmp_path / "stage", tmp_path / "out")
    assert sorted(file.name for file in out.iterdir()) == ["config.json", "model.safetensors"]
    network = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=0).eval()
    assert (network.pretrained_cfg["mean"], network.pretrained_cfg["std"]) == ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images), trained.backbone(images), rtol=1e-5, atol=1e-6)
    later = small_spec(backbone=backbone, steps=1, validate_every=1, optimiser=small_spec().training.optimiser)
    run_stage(small_job(tmp_path / "later", later, small_benchmark, weights=out))
    started = load_stage(StageFolder(tmp_path / "later"), torch.device("cpu"))  # its one step is frozen
    assert all(torch.equal(value, started.backbone.state_dict()[name]) for name, value in trained.backbone.state_dict().items())


def test_half_precision(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A float16 export is half as large and comes back as float32 within its rounding."""
    run_stage(small_job(tmp_path / "stage", small_spec(steps=1, validate_every=1), small_benchmark))
    whole, half = export_backbone(tmp_path / "stage", tmp_path / "a"), export_backbone(tmp_path / "stage", tmp_path / "b", dtype="float16")
    sizes = [(out / "model.safetensors").stat().st_size for out in (whole, half)]
    assert sizes[1] < 0.7 * sizes[0]
    ours, theirs = (timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=0).state_dict() for out in (half, whole))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4)


def test_refuses_what_is_no_stage(tmp_path: Path) -> None:
    """A folder that is no trained stage is refused by name."""
    with pytest.raises(ValueError, match="is no trained stage"):
        export_backbone(tmp_path, tmp_path / "out")

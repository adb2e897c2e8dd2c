"""Model cards: where the start weights come from, and what an unfinished or fitted stage says."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from registry.contracts import InitSpec
from tests.udonx.engine.small import fitted_spec, small_job, small_spec
from udonx.common.files import sha256_file
from udonx.data.benchmark import Benchmark
from udonx.engine.train import run_stage
from udonx.inputs.weights import SHIPPED
from udonx.running.export import export_stage
from udonx.store.stage import StageFolder

SHORT = {"steps": 1, "validate_every": 1}


def test_the_licence_of_start_weights(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is that of timm's registry where these very weights lie in the hub's cache, else unknown;
    a stage that starts from another has those of the other.
    """
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights of timm")
    backbone = attrs.evolve(small_spec().backbone, weights=sha256_file(weights))
    spec = small_spec(backbone=backbone, **SHORT)
    run_stage(small_job(tmp_path / "stage", spec, small_benchmark))
    init = InitSpec(use="grow", stages=(spec,))
    grown = small_spec(domains=("plates",), init=init, **SHORT)
    source = StageFolder(tmp_path / "stage")
    run_stage(small_job(tmp_path / "grown", grown, small_benchmark, sources=(source,)))

    def card(stage: str, out: str) -> str:
        return (export_stage(tmp_path / stage, tmp_path / out).path / "README.md").read_text()

    assert "| licence of the start weights | unknown |" in card("stage", "before")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda name, _: str(weights) if name == "timm/resnet10t.c3_in1k" else None,
    )
    for stage in ("stage", "grown"):
        text = card(stage, f"{stage}_out")
        assert "| start weights | timm/resnet10t.c3_in1k |" in text
        assert "| licence of the start weights | apache-2.0 |" in text


def test_weights_that_ship(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """The start weights of the demo are named with their licence; a fitted head trains nothing."""
    (weights,) = SHIPPED.glob("*/model.safetensors")
    backbone = attrs.evolve(small_spec().backbone, weights=sha256_file(weights))
    run_stage(small_job(tmp_path / "stage", fitted_spec(backbone=backbone), small_benchmark))
    card = (export_stage(tmp_path / "stage", tmp_path / "out").path / "README.md").read_text()
    assert f"{weights.parent.name}, which ships with udonx" in card
    assert "Nothing was trained in this stage." in card
    assert "the student's head 'pca', 8 dimensions" in card
    assert "No evaluation of this embedding" in card

"""What only a GPU can show; skipped, with the reason, where there is none."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

import udonx
from tests.tiny import ROOT

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
TABLE = ROOT / "experiments" / "table3_ablation.toml"


def _run(results: Path, *overrides: str, rows: tuple[str, ...] = ("udon_dynamic",)):
    return udonx.run(
        TABLE,
        setting="smoke",
        rows=rows,
        overrides=overrides,
        results=results,
        device="cuda",
    )


def test_all_rows_run_on_the_gpu(tmp_path):
    """Table 3 on the smallest setting gives a whole table of finite figures on the GPU."""
    table = udonx.run(TABLE, setting="smoke", results=tmp_path, device="cuda")
    assert len(table.rows) == 7
    assert all(0 <= row.r1.mean <= 1 for row in table.rows)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_run_gives_the_same_weights(tmp_path, precision):
    """Same configuration, data and seed: bit-identical weights on the same GPU, in
    both precisions.
    """
    weights = []
    for name in ("a", "b"):
        stage = _run(tmp_path / name, f"precision={precision}").row("udon_dynamic").stages[-1]
        weights.append((tmp_path / name / "stages" / stage / "best.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_the_step_does_not_wait_for_the_gpu(small_benchmark, tmp_path, monkeypatch):
    """CUDA's own check for synchronising calls stays silent inside the training step."""
    from udonx.engine.loop import Loop

    original = Loop._train_step

    def watched(self, step, batch):
        torch.cuda.set_sync_debug_mode("error")
        try:
            original(self, step, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Loop, "_train_step", watched)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _run(tmp_path, rows=("udon", "baseline"))


def test_gpu_and_cpu_agree(tmp_path):
    """In fp32 the losses of the first steps agree between CPU and GPU to a thousandth."""
    curves = []
    for device in ("cpu", "cuda"):
        table = udonx.run(
            TABLE,
            setting="smoke",
            rows=["udon"],
            results=tmp_path / device,
            device=device,
        )
        log = (
            (tmp_path / device / "stages" / table.row("udon").stages[-1] / "log.jsonl")
            .read_text()
            .splitlines()
        )
        curves.append([json.loads(line)["total"] for line in log if '"total"' in line][:3])
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)

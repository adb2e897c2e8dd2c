"""Real photographs and drawings, real ImageNet weights: the benchmark and the backbone that lie
beside the project.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import udonx

# weights/README.md: R@1 % at 64 px, merged / own index, features L2-normalised, no training
MEAN = (47.1, 51.6)
R1_PER_DOMAIN = {
    "omniglot": (48.1, 48.1),
    "emoji": (31.6, 32.4),
    "objects": (62.4, 74.9),
    "flags": (24.2, 35.6),
    "groceries": (69.5, 69.5),
    "flowers": (70.2, 72.2),
    "clothing": (58.2, 62.2),
    "birds": (12.5, 17.9),
}


@pytest.fixture(scope="module")
def uned_mini(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The benchmark, unpacked as its README says."""
    folder = tmp_path_factory.mktemp("uned_mini")
    subprocess.run(
        [str(shared_dir / "uned_mini" / "unpack.sh"), str(folder)], check=True, capture_output=True
    )
    return folder


def test_off_the_shelf_gives_the_published_figures(
    uned_mini: Path, shared_dir: Path, tmp_path: Path
):
    """At 64 px the untrained features give the weights' README's means to half a point and each
    domain to 1.5 points.
    """
    table = udonx.run(
        "experiments/table3_ablation.toml",
        setting="uned_mini",
        data=uned_mini,
        weights=shared_dir / "weights",
        overrides=["transform.crop=64", "transform.resize=74"],
        rows=["off_the_shelf"],
        results=tmp_path / "results",
        device="cpu",
    )
    row = table.row("off_the_shelf")
    assert 100 * row.r1.mean == pytest.approx(MEAN[0], abs=0.5)
    assert 100 * row.own_metrics["r1"].mean == pytest.approx(MEAN[1], abs=0.5)
    stored = json.loads(
        (tmp_path / "results" / "evaluations" / row.evaluations[0] / "metrics.json").read_text()
    )
    for domain, (merged, own) in R1_PER_DOMAIN.items():
        assert 100 * stored["merged"]["per_domain"][domain]["r1"] == pytest.approx(
            merged, abs=1.5
        ), domain
        assert 100 * stored["own"]["per_domain"][domain]["r1"] == pytest.approx(own, abs=1.5), (
            domain
        )

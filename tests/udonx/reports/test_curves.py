"""Learning curves from the logs of stages: over seeds, thinned out, half logs included."""

from __future__ import annotations

import pytest

from tests.udonx.reports.small import write_results
from udonx.reports.curves import MEAN, TOTAL, Curve, read_curves, thin_out
from udonx.reports.source import read_sources


def log(results, stage: str, *entries: dict) -> None:
    """Write the log of a stage."""
    for entry in entries:
        results.stage(stage).path.mkdir(parents=True, exist_ok=True)
        results.stage(stage).log(entry)


def test_curves_are_means_over_seeds(tmp_path):
    """Losses, shares with the loss that they follow, and validation, each with its spread."""
    results = write_results(tmp_path)
    for seed, loss in ((0, 2.0), (1, 4.0)):
        log(
            results,
            f"udon-stage-{seed}",
            {"step": 8, "total": loss, "losses": {"ce": loss + 1}},
            {"step": 9, "shares": {"birds": 0.25}, "signal": {"birds": loss}},
            {"step": 10, "validation": {"r1": 0.5, "mmp5": 0.1, "per_domain": {"cars": 0.5}}},
        )
    ((source,), _) = read_sources(results)
    (curves,), notes = read_curves(source)
    assert curves.position == 1 and list(curves.losses) == ["ce", TOTAL]
    assert curves.losses[TOTAL] == Curve((8,), (3.0,), (pytest.approx(2**0.5),))
    assert curves.shares["birds"].mean == (0.25,) and curves.signals["birds"].mean == (3.0,)
    assert list(curves.validation) == [MEAN, "cars"]
    assert len(notes) == 1 and "baseline; twin; off the shelf" in notes[0]


def test_what_is_no_number_is_left_out(tmp_path):
    """Damaged lines, lines of another form and figures that are not finite draw nothing."""
    results = write_results(tmp_path, seeds=(0,))
    log(
        results,
        "udon-stage-0",
        {"step": 1, "total": float("inf"), "losses": {"ce": 1.0}},
        {"step": "two", "total": 1.0},
        {"total": 1.0, "losses": "none", "validation": []},
    )
    with open(results.stage("udon-stage-0").path / "log.jsonl", "a") as handle:
        handle.write('{"step": 3, "total": 9.0, "digest": "00000000"}\n{"step": 4')
    ((source,), _) = read_sources(results)
    (curves,), _ = read_curves(source)
    assert list(curves.losses) == ["ce"] and curves.validation == {}


def test_a_curve_has_at_most_so_many_points():
    """However long the training, the mean and the last step are kept."""
    steps = tuple(range(1, 1002))
    thin = thin_out(Curve(steps, tuple(map(float, steps)), (0.0,) * len(steps)), 100)
    assert len(thin.steps) == len(thin.mean) == len(thin.deviation) <= 100
    assert thin.steps[-1] == 1001 and thin.mean[0] == sum(range(1, 12)) / 11

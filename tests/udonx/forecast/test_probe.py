"""`udonx plan --measure`: a few real steps of what nothing is known of."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import SETTING, write_domain, write_experiment
from udonx.cli import main
from udonx.data import images
from udonx.engine.device import loading_threads
from udonx.forecast.probe import _Probe

ROWS = """
[rows.teachers]
scheme = "separate_teachers"
sampler = "round_robin"
[rows.udon]
scheme = "udon"
sampler = "dynamic"
[rows.features]
scheme = "off_the_shelf"
reference = true
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`udonx plan` of two teachers, their student, UDON and features, with a cache and a folder for
    temporary files of the test's own.
    """
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for number, domain in enumerate(("cars", "toys")):
        write_domain(tmp_path / "data", domain, first_class=2 * number)
    file = write_experiment(tmp_path, SETTING + ROWS)
    results = str(tmp_path / "results")
    return [
        "plan",
        str(file),
        "--data",
        str(tmp_path / "data"),
        "--results",
        results,
        "--device",
        "cpu",
        "--set",
        "budget.steps=20",
    ]


def test_measure_gives_an_estimate(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind is timed once, nothing stays in the results or the temporary folder, and from then
    on there is an estimate.
    """
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "no estimate for 4 stages (marked ?) and 3 evaluations" in out and " about " not in out
    assert main([*command, "--measure"]) == 0
    out, err = capsys.readouterr()
    assert (
        "no estimate" not in out and "left to train: 5 stages, 60 steps, 240 images, about " in out
    )
    assert [line.split(": ", 1)[1] for line in err.splitlines() if line.startswith("timing")] == [
        "teacher of cars (teachers)",
        "student (teachers)",
        "student and teachers (udon)",
    ]
    assert not (tmp_path / "results").exists() and list((tmp_path / "temporary").iterdir()) == []
    assert main([*command, "--measure"]) == 0
    again, err = capsys.readouterr()
    assert again == out and "timing" not in err


def test_measure_tells_frozen_steps_from_others(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps with a frozen backbone and others are two kinds, also where the stage is frozen for
    longer than it is timed.
    """
    long = [*command, "--row", "udon", "--set", "budget.steps=2000"]
    assert main([*long, "--measure"]) == 0
    assert "no estimate" not in capsys.readouterr().out


def test_measure_reads_trained_teachers(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With teachers in the results these teach, and not a byte of them changes; a plan whose stages
    are all there has no time left.
    """
    run = ["run", *command[1:]]
    assert main([*run, "--row", "teachers"]) == 0
    (tmp_path / "cache" / "timings.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("*")}
    assert main([*command, "--measure", "--set", "losses.kl_logit.weight=2.0"]) == 0
    assert "2 already trained" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("*")}
    assert main([*command, "--row", "teachers"]) == 0
    assert capsys.readouterr().out.endswith(
        "3 stages, 3 already trained; left to train: 0 stages, 0 steps, 0 images\n"
    )


def test_a_run_gives_an_estimate(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What a run has measured, its evaluation included, stands in for --measure: the same rows of
    another seed have an estimate.
    """
    assert main(["run", *command[1:], "--row", "udon"]) == 0
    capsys.readouterr()
    assert main([*command, "--row", "udon", "--seeds", "1"]) == 0
    out = capsys.readouterr().out
    assert (
        "left to train: 1 stage, 20 steps, 80 images, about " in out
        and "(evaluations included)" in out
    )


def test_every_stage_decodes_its_images(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is timed last decodes as many images as if it were timed first: at least three laps of
    four steps of four, of 28 that exist.
    """
    decoded, probed, decode, run = [], [], images.decode, _Probe.run

    def counting(path: Path, **options: object) -> np.ndarray:
        decoded.append(path)
        return decode(path, **options)

    def apart(probe: _Probe, stage: object) -> None:
        before = len(decoded)
        run(probe, stage)
        probed.append(len(decoded) - before)

    monkeypatch.setattr(images, "decode", counting)
    monkeypatch.setattr(_Probe, "run", apart)
    assert main([*command, "--measure"]) == 0
    assert len(probed) == 3 and min(probed) >= 48


def test_a_run_with_other_threads_gives_no_estimate(command: list[str], tmp_path: Path) -> None:
    """With --workers neither the stages nor the evaluation of a run are kept as costs."""
    workers = str(loading_threads(torch.device("cpu")) + 1)
    for row in ("udon", "features"):
        assert main(["run", *command[1:], "--row", row, "--workers", workers]) == 0
    assert not (tmp_path / "cache" / "timings.json").exists()

"""`udonx evaluate`: what it prints, refusals."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.tiny import write_domain
from tests.udonx.engine.small import small_job, small_spec
from udonx.cli import main
from udonx.data.benchmark import Benchmark
from udonx.engine.train import run_stage


def test_the_table_is_printed_in_the_form_that_is_asked_for(
    small_benchmark: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Text for the screen, else Markdown, CSV or JSON, with the metrics of --metrics; no stage at
    all, and a folder that is none, are refused.
    """
    stage = tmp_path / "stage"
    run_stage(small_job(stage, small_spec(steps=1, validate_every=1), small_benchmark))
    write_domain(tmp_path / "photos", "boats")
    options = ["--data", str(tmp_path / "photos"), "--results", str(tmp_path / "kept")]
    options += ["--metrics", "r1,mrr", "--device", "cpu"]
    capsys.readouterr()
    assert main(["evaluate", str(stage), *options]) == 0
    text = capsys.readouterr().out
    assert "R@1" in text and "MRR" in text and "mMP@5" not in text
    assert "trained on glyphs, logos, silhouettes: stage" in text
    assert main(["evaluate", str(stage), *options, "--format", "csv"]) == 0
    (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (line["row"], line["boats_mrr"]) == ("stage", line["mrr"])
    assert main(["evaluate", str(stage), *options, "--format", "markdown"]) == 0
    assert "| row | index |" in capsys.readouterr().out
    assert main(["evaluate", *options]) == 2
    assert main(["evaluate", str(tmp_path / "photos"), *options]) == 2
    assert "is no trained stage" in capsys.readouterr().err

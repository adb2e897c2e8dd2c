"""`udonx export`: what it says, plug-ins, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.contracts import HeadSpec
from tests.udonx.engine.small import small_job, small_spec
from udonx.cli import main
from udonx.config import plugins
from udonx.data.benchmark import Benchmark
from udonx.engine.train import run_stage

HEAD = """
from registry import heads
from registry.heads.linear import LinearHead

@heads.register("mine")
class Mine(LinearHead):
    def forward(self, features_BF):
        return -super().forward(features_BF)
"""


def test_it_says_what_is_in_the_folder_and_how_it_is_used(
    small_benchmark: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The last line names the features, the head and a line that runs; a second call is refused,
    --overwrite allows it.
    """
    run_stage(small_job(tmp_path / "stage", small_spec(steps=1, validate_every=1), small_benchmark))
    arguments = ["export", str(tmp_path / "stage"), str(tmp_path / "out")]
    assert main(arguments) == 0
    said = capsys.readouterr().err.strip().split("\n")[-1]
    assert (
        "the backbone (32 features; timm.create_model('local-dir:" in said
        and "the student's head 'linear' (16 dimensions)" in said
    )
    assert f"Embedding.load('{tmp_path / 'out'}').embed(['photo.jpg'])" in said
    assert main(arguments) == 2 and "is not empty" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert (
        main(["export", str(tmp_path), str(tmp_path / "other")]) == 2
        and "is no trained stage" in capsys.readouterr().err
    )


def test_a_stage_with_a_plug_in(
    small_benchmark: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """--plugin is imported first; a head whose code is elsewhere is not in the folder, and that is
    said.
    """
    (tmp_path / "my_head.py").write_text(HEAD)
    plugins.load_plugins([str(tmp_path / "my_head.py")], None, where="test")
    run_stage(
        small_job(
            tmp_path / "stage",
            small_spec(student_head=HeadSpec(use="mine", dim=8), steps=1, validate_every=1),
            small_benchmark,
        )
    )
    arguments = [
        "export",
        str(tmp_path / "stage"),
        str(tmp_path / "out"),
        "--plugin",
        str(tmp_path / "my_head.py"),
    ]
    assert main(arguments) == 0
    assert (
        "no head: its head 'mine' is a plug-in's, whose code does not go with it; "
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out" / "head.safetensors").exists()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["udonx"]["head"] is None

"""`udonx export`: what it says, plug-ins, refusals."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from registry.contracts import HeadSpec
from tests.udonx.engine.small import small_job, small_spec
from udonx.cli import main
from udonx.config import plugins
from udonx.data.benchmark import Benchmark
from udonx.engine.loaded_model import LoadedModel
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


def test_a_graph_holds_the_head_of_a_plug_in(
    small_benchmark: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """`--format torch` keeps what such a head computes: it is loaded without the plug-in."""
    (tmp_path / "my_head.py").write_text(HEAD)
    plugins.load_plugins([str(tmp_path / "my_head.py")], None, where="test")
    spec = small_spec(student_head=HeadSpec(use="mine", dim=8), steps=1, validate_every=1)
    run_stage(small_job(tmp_path / "stage", spec, small_benchmark))
    image = np.full((40, 50, 3), 90, dtype=np.uint8)
    expected = LoadedModel(tmp_path / "stage").embed([image])
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "stage"), str(out), "--format", "torch"]) == 0
    last = capsys.readouterr().err.strip().split("\n")[-1]
    assert "the student's head 'mine' (8 dimensions), of images float32 [batch, 3, 32, 32]" in last
    assert "differs from udonx by at most" in last and "on 16 images" in last
    plugins.unload_plugins()
    np.testing.assert_allclose(LoadedModel(out).embed([image]), expected, atol=1e-5)


def test_no_space(
    small_benchmark: Benchmark,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk is one sentence that names the folder, and nothing of the export is left."""
    run_stage(small_job(tmp_path / "stage", small_spec(steps=1, validate_every=1), small_benchmark))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("safetensors.torch.save_file", full)
    assert main(["export", str(tmp_path / "stage"), str(tmp_path / "out")]) == 1
    last = capsys.readouterr().err.strip().split("\n")[-1]
    assert last.startswith(f"udonx export: {tmp_path / 'out'}: No space left on device; free some")
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]


def test_a_missing_extra(
    small_benchmark: Benchmark,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--format onnx` without its packages is refused with the command that installs them."""
    run_stage(small_job(tmp_path / "stage", small_spec(steps=1, validate_every=1), small_benchmark))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    arguments = ["export", str(tmp_path / "stage"), str(tmp_path / "out"), "--format", "onnx"]
    assert main(arguments) == 2
    assert capsys.readouterr().err.strip().split("\n")[-1] == (
        "udonx export: --format onnx needs the package onnxscript: pip install 'udonx[onnx]'"
    )
    assert not (tmp_path / "out").exists()

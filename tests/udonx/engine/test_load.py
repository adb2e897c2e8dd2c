"""A trained stage, loaded from its folder: what is missing or was changed is a sentence."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from registry.contracts import HeadSpec
from tests.udonx.engine.small import small_job, small_spec
from udonx.common.files import DamagedFileError
from udonx.common.json_files import write_json
from udonx.config import specs
from udonx.config.plugins import load_plugins, unload_plugins
from udonx.data.benchmark import Benchmark
from udonx.engine.load import load_stage
from udonx.engine.loaded_model import LoadedModel
from udonx.engine.train import run_stage
from udonx.store.stage import StageFolder

CPU = torch.device("cpu")


def test_missing_plugin(stage: Path, tmp_path: Path) -> None:
    """A stage with a component that is not registered names it and the plug-in to import, and
    imports nothing itself.
    """
    shutil.copytree(stage, tmp_path / "stage")
    file = tmp_path / "stage" / "model.json"
    kept = json.loads(file.read_text())
    del kept["digest"]
    kept["spec"]["student_head"]["use"] = "my_head"
    file.write_text(json.dumps(kept | {"plugins": ["my_heads.py"]}))
    with pytest.raises(ValueError, match=r"my_head.*--plugin my_heads\.py"):
        load_stage(StageFolder(tmp_path / "stage"), CPU)


def test_a_given_stage_names_no_file_of_weights(stage: Path, tmp_path: Path) -> None:
    """A model.json whose backbone names a checkpoint runs no code and opens nothing: it is refused
    in one sentence.
    """
    shutil.copytree(stage, tmp_path / "stage")
    (tmp_path / "evil.pth").write_bytes(evil(tmp_path / "ran"))
    file = tmp_path / "stage" / "model.json"
    kept = json.loads(file.read_text())
    kept.pop("digest", None)
    kept["spec"]["backbone"]["options"]["kwargs"]["checkpoint_path"] = str(tmp_path / "evil.pth")
    file.write_text(json.dumps(kept))
    with pytest.raises(ValueError, match="kwargs may not set 'checkpoint_path'"):
        load_stage(StageFolder(tmp_path / "stage"), CPU)
    assert not (tmp_path / "ran").exists()


def evil(path: Path) -> bytes:
    """A pickle that creates `path` when it is loaded."""

    class Payload:
        def __reduce__(self):
            return Path.touch, (path,)

    return pickle.dumps(Payload())


HEAD = """
import torch
from registry import heads
from a_norm import unit

@heads.register("kept_head")
class Kept(torch.nn.Linear):
    def __init__(self, in_dim, dim):
        super().__init__(in_dim, dim)

    def forward(self, features_BF):
        return unit(super().forward(features_BF))
"""


def test_the_plug_ins_of_a_stage_are_kept_with_it(
    small_benchmark: Benchmark, images: list[Path], tmp_path: Path
) -> None:
    """The plug-in and its helper lie in the stage's folder; with an edited one the stage is
    refused, and loads with those kept.
    """
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "my_head.py").write_text(HEAD)
    (mine / "a_norm.py").write_text(
        "import torch\ndef unit(x): return torch.nn.functional.normalize(x)"
    )
    load_plugins(["my_head.py"], mine, where="here")
    head = HeadSpec(use="kept_head", dim=16, source=specs.source_hash("heads", "kept_head"))
    spec = small_spec(student_head=head, steps=1, validate_every=1)
    folder = tmp_path / "stage"
    run_stage(small_job(folder, spec, small_benchmark, plugins=("my_head.py",)))
    expected = LoadedModel(folder).embed(images[:2])
    assert {file.name: file.read_text() for file in (folder / "plugins").iterdir()} == {
        file.name: file.read_text() for file in mine.glob("*.py")
    }
    (mine / "a_norm.py").write_text(
        "import torch\ndef unit(x): return torch.nn.functional.normalize(-x)"
    )
    load_plugins(["my_head.py"], mine, where="here")
    with pytest.raises(
        ValueError,
        match=(
            r"'kept_head' at .* is not what this stage is of.*--plugin .*stage/plugins/my_head\.py"
        ),
    ):
        LoadedModel(folder)
    unload_plugins()
    load_plugins([str(folder / "plugins" / "my_head.py")], None, where="here")
    np.testing.assert_array_equal(LoadedModel(folder).embed(images[:2]), expected)


def test_a_description_that_builds_nothing(stage: Path, tmp_path: Path) -> None:
    """A model.json that was changed and signed anew is one sentence that names it."""
    kept = StageFolder(stage).read_model()
    for change in (
        {"student_head": {"use": "linear", "dim": -5}},
        {"domains": ["elsewhere"]},
        {"transform": {"crop": -3}},
    ):
        shutil.rmtree(tmp_path / "stage", ignore_errors=True)
        shutil.copytree(stage, tmp_path / "stage")
        write_json(
            tmp_path / "stage" / "model.json",
            attrs.asdict(attrs.evolve(kept, spec=kept.spec | change)),
        )
        with pytest.raises(
            DamagedFileError, match=r"model\.json (describes no model|does not describe)"
        ) as caught:
            load_stage(StageFolder(tmp_path / "stage"), CPU)
        assert "\n" not in str(caught.value)

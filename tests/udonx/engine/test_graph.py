"""Graphs of ONNX and torch.export: the vectors of the model, at any batch size; no programs."""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor, nn

from registry.contracts import BackboneSpec
from tests.udonx.engine.small import small_spec
from udonx.common.extras import MissingExtraError
from udonx.common.files import DamagedFileError
from udonx.engine.build import build_model
from udonx.engine.errors import StageError
from udonx.engine.graph import (
    EmbeddingGraph,
    Graph,
    read_onnx,
    read_torch,
    write_onnx,
    write_torch,
)
from udonx.engine.model import Model
from udonx.evaluation.protocol import Embedder

VIT = {
    "model": "vit_tiny_patch16_224",
    "kwargs": {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
}
NETWORKS = {"resnet": small_spec().backbone.options, "vit": VIT}
CPU = torch.device("cpu")


def model_of(options: dict[str, Any], precision: str = "fp32") -> Model:
    """A model with random weights of a UDON stage."""
    backbone = BackboneSpec(
        use="timm", options=options, weights="random", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)
    )
    spec = attrs.evolve(small_spec(), backbone=backbone, precision=precision)
    classes = dict.fromkeys(spec.domains, 3)
    return build_model(spec, classes, None).requires_grad_(False).eval()


def images(count: int) -> Tensor:
    """Noise, float32 [count, 3, 32, 32], 0..255."""
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255


def assert_same(graph: Graph, model: Model, tta: str | None) -> None:
    """The graph gives the student's vectors, whatever the size of the batch."""
    embedder = Embedder(model, "student", tta)
    for count in (1, 2, 5):
        got_BD = graph(images(count)).detach()
        torch.testing.assert_close(got_BD, embedder.embed(images(count)), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torch.export; not to be written to."""
    path = tmp_path_factory.mktemp("graph") / "embedding.pt2"
    model = model_of(NETWORKS["resnet"])
    write_torch(EmbeddingGraph(model, model.student_head), path)
    return path


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("tta", [None, "flip"])
def test_torch(tmp_path: Path, network: str, tta: str | None) -> None:
    """A file of torch.export gives the model's vectors, with the flip where it is asked for."""
    model = model_of(NETWORKS[network])
    write_torch(EmbeddingGraph(model, model.student_head, tta), tmp_path / "a.pt2")
    assert_same(read_torch(tmp_path / "a.pt2", CPU), model, tta)


@pytest.mark.parametrize(("network", "tta"), [("resnet", None), ("vit", "flip")])
def test_onnx(tmp_path: Path, network: str, tta: str | None) -> None:
    """One ONNX file gives the model's vectors, of a named batch of any size."""
    pytest.importorskip("onnxruntime")
    import onnx

    model = model_of(NETWORKS[network])
    write_onnx(EmbeddingGraph(model, model.student_head, tta), tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    assert_same(read_onnx(tmp_path / "a.onnx", CPU), model, tta)
    graph = onnx.load(tmp_path / "a.onnx").graph
    (given,), (gives,) = graph.input, graph.output
    shapes = [
        [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (given, gives)
    ]
    assert (given.name, gives.name) == ("images", "embedding")
    assert shapes == [["batch", 3, 32, 32], ["batch", 16]]


def test_it_holds_one_head_alone(written: Path) -> None:
    """Class columns and other heads, which a graph does not need, are not in it."""
    state = torch.export.load(written).state_dict
    assert {name.partition(".")[0] for name in state} == {"backbone", "head", "scale", "shift"}


def test_bf16_is_exported_in_float32() -> None:
    """The graph of a model in bfloat16 computes in float32, and leaves the model as it was."""
    model = model_of(NETWORKS["resnet"], "bf16")
    whole = model_of(NETWORKS["resnet"])
    whole.load_state_dict(model.state_dict())
    before = model.embed(images(2), "student")
    assert_same(EmbeddingGraph(model, model.student_head), whole, None)
    assert torch.equal(model.embed(images(2), "student"), before)


class Untraceable(nn.Module):
    """A head that looks at its input's values."""

    def forward(self, features_BF: Tensor) -> Tensor:
        return features_BF * (1 if features_BF.sum().item() > 0 else 2)


def test_a_head_that_cannot_be_traced(tmp_path: Path) -> None:
    """It is refused in one sentence that names the way out, and nothing is written."""
    graph = EmbeddingGraph(model_of(NETWORKS["resnet"]), Untraceable())
    with pytest.raises(StageError, match=r"cannot be written by torch.export .*--format timm"):
        write_torch(graph, tmp_path / "a.pt2")
    assert not list(tmp_path.iterdir())


def test_a_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX without its packages is refused with the command that installs them."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    model = model_of(NETWORKS["resnet"])
    with pytest.raises(MissingExtraError, match=r"pip install 'udonx\[onnx\]'"):
        write_onnx(EmbeddingGraph(model, model.student_head), tmp_path / "a.onnx")


def with_member(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    """Adds or replaces a member of an archive."""
    return lambda members: members.update({f"embedding/{name}": content})


def with_pickled_weight(members: dict[str, bytes]) -> None:
    """Marks a weight as pickled."""
    name = "data/weights/model_weights_config.json"
    (member,) = [each for each in members if each.endswith(name)]
    config = json.loads(members[member])
    next(iter(config["config"].values()))["use_pickle"] = True
    members[member] = json.dumps(config).encode()


def a_program() -> bytes:
    """What torch.load would run without `weights_only`."""

    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return (print, ("run",))

    content = io.BytesIO()
    torch.save((Runs(),), content, pickle_module=pickle)
    return content.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        with_pickled_weight,
        with_member("data/constants/opaque_obj_0", pickle.dumps(print)),
        with_member("data/aotinductor/model/model.so", b"\x7fELF"),
        with_member("data/weights/model.pt", b"legacy"),
    ],
)
def test_programs_are_refused(
    written: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None]
) -> None:
    """Pickled objects and compiled libraries in a file of torch.export are refused unread."""
    with zipfile.ZipFile(written) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DamagedFileError, match="holds more than a graph and tensors"):
        read_torch(tmp_path / "a.pt2", CPU)


def test_pickled_examples_are_not_run(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Example inputs that are more than tensors are refused, where torch would run them."""
    with zipfile.ZipFile(written) as archive, zipfile.ZipFile(tmp_path / "a.pt2", "w") as changed:
        for name in archive.namelist():
            examples = name.endswith("sample_inputs/model.pt")
            changed.writestr(name, a_program() if examples else archive.read(name))
    with pytest.raises(DamagedFileError, match=r"is no file of torch\.export"):
        read_torch(tmp_path / "a.pt2", CPU)
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("read", [read_onnx, read_torch])
def test_a_file_of_another_kind(tmp_path: Path, read: Callable[..., Graph]) -> None:
    """Any other content is refused in one sentence."""
    (tmp_path / "a").write_bytes(b"no graph")
    with pytest.raises(DamagedFileError, match="; export the stage again"):
        read(tmp_path / "a", CPU)

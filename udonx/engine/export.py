"""A trained stage in formats that timm, ONNX, torch, and people without udonx can use."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal, cast

import attrs
import safetensors.torch
import torch
from torch import Tensor, nn

from registry.backbones.timm import TimmBackbone
from registry.contracts import StageSpec
from registry.heads.lda import LdaHead
from registry.heads.linear import LinearHead
from registry.heads.mlp import MlpHead
from registry.heads.pca import PcaHead
from udonx.common.files import atomic_path, sha256_file, write_atomic
from udonx.common.json_files import write_json
from udonx.engine.errors import StageError
from udonx.engine.exported_graph import (
    GRAPH_FILES,
    MANIFEST,
    GraphFile,
    Manifest,
    describe_preprocessing,
)
from udonx.engine.graph import ONNX_FILE, TORCH_FILE, EmbeddingGraph, write_onnx, write_torch
from udonx.engine.model import Model
from udonx.planning.stages import learned_domains

FORMATS = ("timm", "onnx", "torch")
TIMM_CONFIG = "config.json"
TIMM_FILES = (TIMM_CONFIG, "model.safetensors", "head.safetensors", "embedding.py")
"""What `write_timm` may write."""


@attrs.frozen(kw_only=True)
class ExportedBranch:
    """What of a model an export embeds with.

    Attributes:
        name: "student", "teacher" or "feature".
        domain: whose teacher; None for the other branches.
        head: the module; None for features.
        dim: the length of an embedding.
        about: what the head is, in words; empty for features.
        without: why there is no head; empty where there is one.
    """

    name: Literal["student", "teacher", "feature"]
    domain: str | None
    head: nn.Module | None
    dim: int
    about: str
    without: str


@attrs.frozen(kw_only=True)
class WrittenFormat:
    """One format of an export.

    Attributes:
        name: "timm", "onnx" or "torch".
        file: what `load_model` takes for it: the folder, or the file of a graph.
        branch: the branch that it embeds with.
        head: what the head is, in words; empty where it has none.
        without: why there is no head; empty where there is one.
        dim: the length of an embedding.
        difference: how far an entry of a vector lies from udonx's own at most, over the images of
            the check; NaN before it.
    """

    name: str
    file: Path
    branch: str
    head: str
    without: str
    dim: int
    difference: float = math.nan


@attrs.frozen(kw_only=True)
class Export:
    """What was written.

    Attributes:
        path: the folder.
        written: its formats.
        features: the dimension of the backbone's features.
        parameters: how many numbers backbone and head have learned.
        crop: edge in pixels of the images that it takes.
        images: how many images it was checked on.
    """

    path: Path
    written: tuple[WrittenFormat, ...]
    features: int
    parameters: int
    crop: int
    images: int

    @property
    def main(self) -> WrittenFormat:
        """What stands for all formats: the first that has a head, else the first."""
        return next((each for each in self.written if each.head), self.written[0])


def choose_branch(model: Model, spec: StageSpec) -> ExportedBranch:
    """What an export of a stage embeds with: the student, else its only teacher, else features."""
    if model.student_head is not None and spec.student_head is not None:
        return ExportedBranch(
            name="student",
            domain=None,
            head=model.student_head,
            dim=spec.student_head.dim,
            about=f"the student's head '{spec.student_head.use}'",
            without="",
        )
    if len(model.teacher_heads) == 1 and spec.teacher_head is not None:
        return ExportedBranch(
            name="teacher",
            domain=spec.domains[0],
            head=model.teacher_heads[0],
            dim=spec.teacher_head.dim,
            about=f"the teacher's head '{spec.teacher_head.use}'",
            without="",
        )
    several = f"it has {len(model.teacher_heads)} teacher heads, one for each domain"
    return ExportedBranch(
        name="feature",
        domain=None,
        head=None,
        dim=model.feature_dim,
        about="",
        without=several if len(model.teacher_heads) else "the stage has none",
    )


def write_timm(
    folder: Path,
    model: Model,
    spec: StageSpec,
    *,
    dtype: str = "float32",
    tta: Literal["flip"] | None = None,
) -> WrittenFormat:
    """Write a model as a folder that needs no udonx.

    It holds the backbone in timm's layout (config.json, model.safetensors), its head
    (head.safetensors), and embedding.py. That puts the two together and prepares images as udonx
    does.

    Args:
        folder: where they are written, without an earlier export.
        model: the model of a stage.
        spec: the stage.
        dtype: of the backbone on disk: "float32", "float16" or "bfloat16"; loaded back, weights are
            float32.
        tta: "flip" for the mean over an image and its mirror image.

    Raises:
        StageError: the backbone is not a timm model.
    """
    backbone, branch = model.backbone, choose_branch(model, spec)
    if not isinstance(backbone, TimmBackbone):
        raise StageError(
            f"{folder.name}: the backbone is '{spec.backbone.use}', only timm models have timm's"
            " layout; export it with --format torch"
        )
    head, without = _portable_head(branch)
    _write_tensors(folder / "model.safetensors", backbone.model.state_dict(), getattr(torch, dtype))
    if head:
        _write_tensors(folder / "head.safetensors", head.tensors, torch.float32)
    write_atomic(folder / "embedding.py", Path(__file__).with_name("embedding.py").read_text())
    write_atomic(
        folder / TIMM_CONFIG, json.dumps(_timm_config(backbone, spec, head, tta), indent=1)
    )
    return WrittenFormat(
        name="timm",
        file=folder,
        branch=branch.name if head else "feature",
        head=head.name if head else "",
        without=without,
        dim=head.dim if head else backbone.dim,
    )


def write_graph(
    folder: Path,
    name: Literal["onnx", "torch"],
    model: Model,
    spec: StageSpec,
    *,
    tta: Literal["flip"] | None = None,
) -> WrittenFormat:
    """Write a model as one graph: embedding.onnx or embedding.pt2.

    Args:
        folder: where it is written.
        name: how.
        model: the model of a stage.
        spec: the stage.
        tta: "flip" for the mean over an image and its mirror image.

    Raises:
        MissingExtraError: a package that only the extra `onnx` installs is not there.
        StageError: the model cannot be written so.
    """
    branch = choose_branch(model, spec)
    graph = EmbeddingGraph(model, branch.head, tta)
    file, write = (ONNX_FILE, write_onnx) if name == "onnx" else (TORCH_FILE, write_torch)
    write(graph, folder / file)
    return WrittenFormat(
        name=name,
        file=folder / file,
        branch=branch.name,
        head=branch.about,
        without=branch.without,
        dim=branch.dim,
    )


def write_manifest(
    folder: Path,
    stage: str,
    model: Model,
    spec: StageSpec,
    *,
    tta: Literal["flip"] | None = None,
) -> None:
    """Write embedding.json for the graphs in a folder.

    Args:
        folder: what holds them.
        stage: the id of the stage.
        model: its model.
        spec: the stage.
        tta: "flip" for the mean over an image and its mirror image.
    """
    branch, learned = choose_branch(model, spec), learned_domains(spec)
    mean, std = list(spec.backbone.mean), list(spec.backbone.std)
    manifest = Manifest(
        stage=stage,
        branch=branch.name,
        head=branch.about,
        dim=branch.dim,
        tta=tta,
        crop=model.crop,
        upright=model.upright,
        mean=mean,
        std=std,
        precision=spec.precision,
        domains=list(spec.domains),
        learned=None if learned is None else sorted(learned),
        preprocessing=describe_preprocessing(
            crop=model.crop, upright=model.upright, mean=mean, std=std, tta=tta
        ),
        files={
            name: GraphFile(sha256=sha256_file(folder / name), size=(folder / name).stat().st_size)
            for name in GRAPH_FILES
            if (folder / name).is_file()
        },
    )
    write_json(folder / MANIFEST, attrs.asdict(manifest))


@attrs.frozen(kw_only=True)
class _Head:
    """A head as `embedding.build_head` builds it.

    Attributes:
        name: what it is, in words.
        dim: the width of its embedding.
        hidden: its widths between features and `dim`.
        tensors: its layers.
    """

    name: str
    dim: int
    hidden: list[int]
    tensors: dict[str, Tensor]


def is_export(folder: Path) -> bool:
    """Whether `udonx export` wrote a folder in timm's layout."""
    try:
        return "udonx" in json.loads((folder / TIMM_CONFIG).read_text())
    except (OSError, ValueError, TypeError):
        return False


def _portable_head(branch: ExportedBranch) -> tuple[_Head | None, str]:
    """A branch's head without udonx's code, and why there is none."""
    if branch.head is None:
        return None, branch.without
    if (layers := _layers(branch.head)) is None:
        name = branch.about.rpartition(" ")[2]
        return None, f"its head {name} is a plug-in's, whose code does not go with it"
    widths = [weight.shape[0] for name, weight in layers.items() if weight.dim() == 2]
    head = _Head(name=branch.about, dim=widths[-1], hidden=widths[:-1], tensors=layers)
    return head, ""


def _layers(head: nn.Module) -> dict[str, Tensor] | None:
    """A head's tensors under the names of a chain of layers, None for a head of another kind."""
    if type(head) is LinearHead:
        return nn.Sequential(head.projection).state_dict()
    if type(head) is MlpHead:
        return head.projection.state_dict()
    if type(head) is PcaHead or type(head) is LdaHead:
        # (features - mean) @ components is a linear layer too
        return {"0.weight": head.components_FD.T, "0.bias": -(head.mean_F @ head.components_FD)}
    return None


def _timm_config(
    backbone: TimmBackbone,
    spec: StageSpec,
    head: _Head | None,
    tta: Literal["flip"] | None,
) -> dict[str, Any]:
    learned = learned_domains(spec)
    options, crop = spec.backbone.options, spec.transform.crop
    registered = cast(dict[str, Any], backbone.model.pretrained_cfg)  # timm has no types
    return {
        "architecture": options["model"],
        "num_classes": 0,
        "num_features": backbone.dim,
        "model_args": options.get("kwargs", {}),
        "pretrained_cfg": {
            "input_size": [3, crop, crop],
            # where it is set, timm builds the model for this input size, so that position
            # embeddings are taken as they are
            "fixed_input_size": registered.get("fixed_input_size", False),
            # udonx resizes without antialiasing, which timm cannot; of what it can, this comes
            # nearest. embedding.py does it exactly.
            "interpolation": "hamming",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": spec.backbone.mean,
            "std": spec.backbone.std,
            "num_classes": 0,
            "first_conv": registered.get("first_conv"),
            "classifier": registered.get("classifier"),
        },
        "udonx": {
            "crop": crop,
            "upright": spec.transform.orientation == "exif",
            "precision": spec.precision,
            "domains": spec.domains,
            "learned": None if learned is None else sorted(learned),
            "head": {"is": head.name, "dim": head.dim, "hidden": head.hidden} if head else None,
            **({"tta": tta} if tta else {}),
        },
    }


def _write_tensors(path: Path, tensors: dict[str, Tensor], dtype: torch.dtype) -> None:
    # cloned: safetensors refuses tensors that share memory, as tied weights do
    plain = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).clone().contiguous()
        for name, tensor in tensors.items()
    }
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(plain, temporary)

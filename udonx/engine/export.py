"""A trained stage as a folder that timm, a later stage, and people without udonx can use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

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
from udonx.common.files import atomic_path, write_atomic
from udonx.engine.errors import StageError
from udonx.engine.load import load_stage, read_spec
from udonx.engine.model import Model
from udonx.planning.stages import learned_domains
from udonx.store.stage import StageFolder

_FILES = ("config.json", "model.safetensors", "head.safetensors", "embedding.py")


@attrs.frozen(kw_only=True)
class Export:
    """What was written.

    Attributes:
        path: the folder.
        features: the dimension of the backbone's features.
        head: what the head is, in words; empty where there is none in the folder.
        dim: the dimension of what `embedding.py` gives.
        without: why there is no head; empty where there is one.
    """

    path: Path
    features: int
    head: str
    dim: int
    without: str


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


def export_stage(
    stage: str | Path, out: str | Path, dtype: str = "float32", *, overwrite: bool = False
) -> Export:
    """Write a stage's embedding as a folder that needs no udonx.

    It holds the backbone in timm's layout (config.json, model.safetensors), its head
    (head.safetensors), and embedding.py. That puts the two together and prepares images as udonx
    does.

    Args:
        stage: the folder of a finished stage.
        out: the folder to write; it must be new or empty.
        dtype: of the backbone on disk: "float32", "float16" or "bfloat16"; loaded back, weights are
            float32.
        overwrite: replace an earlier export in `out`; other files there stay as they are.

    Raises:
        StageError: `stage` is no finished stage, its backbone is not a timm model, or `out` holds
            anything that may not be replaced.
    """
    folder, out = StageFolder(Path(stage)), Path(out)
    _refuse_to_overwrite(out, overwrite)
    model = load_stage(folder, torch.device("cpu"))
    spec, backbone = read_spec(folder), model.backbone
    if not isinstance(backbone, TimmBackbone):
        raise StageError(
            f"{folder.path}: its backbone is '{spec.backbone.use}', only timm models have"
            " timm's layout"
        )
    head, without = _head_of(model, spec)
    # First a config.json that nothing can load, last the real one: an export that was stopped is
    # never taken for a whole one.
    write_atomic(out / "config.json", json.dumps({"udonx": {}}))
    _write_tensors(out / "model.safetensors", backbone.model.state_dict(), getattr(torch, dtype))
    if head:
        _write_tensors(out / "head.safetensors", head.tensors, torch.float32)
    else:
        (out / "head.safetensors").unlink(missing_ok=True)
    write_atomic(out / "embedding.py", Path(__file__).with_name("embedding.py").read_text())
    write_atomic(out / "config.json", json.dumps(_config(backbone, spec, head), indent=1))
    dim = head.dim if head else backbone.dim
    return Export(
        path=out,
        features=backbone.dim,
        head=head.name if head else "",
        dim=dim,
        without=without,
    )


def _refuse_to_overwrite(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise StageError(f"{out} is a file; give a folder")
    there = (
        sorted(file.name for file in out.iterdir() if file.name != "__pycache__")
        if out.is_dir()
        else []
    )
    if there and not overwrite:
        raise StageError(
            f"{out} is not empty (it holds {', '.join(there[:4])}); give another folder, or"
            " --overwrite for an earlier export"
        )
    if (ours := [name for name in there if name in _FILES]) and not is_export(out):
        raise StageError(
            f"{out} holds {', '.join(ours)}, which no export of udonx wrote; give another folder"
        )


def is_export(folder: Path) -> bool:
    """Whether `udonx export` wrote a folder."""
    try:
        return "udonx" in json.loads((folder / "config.json").read_text())
    except (OSError, ValueError, TypeError):
        return False


def _head_of(model: Model, spec: StageSpec) -> tuple[_Head | None, str]:
    """The head of what the stage trained, and why there is none."""
    if model.student_head is not None and spec.student_head is not None:
        branch, head, use = "student", model.student_head, spec.student_head.use
    elif len(model.teacher_heads) == 1 and spec.teacher_head is not None:
        branch, head, use = "teacher", model.teacher_heads[0], spec.teacher_head.use
    elif len(model.teacher_heads):
        return None, f"it has {len(model.teacher_heads)} teacher heads, one for each domain"
    else:
        return None, "the stage has none"
    if (layers := _layers(head)) is None:
        return None, f"its head '{use}' is a plug-in's, whose code does not go with it"
    widths = [weight.shape[0] for name, weight in layers.items() if weight.dim() == 2]
    return (
        _Head(
            name=f"the {branch}'s head '{use}'", dim=widths[-1], hidden=widths[:-1], tensors=layers
        ),
        "",
    )


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


def _config(backbone: TimmBackbone, spec: StageSpec, head: _Head | None) -> dict[str, Any]:
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

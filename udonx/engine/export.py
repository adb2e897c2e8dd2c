"""A stage's backbone in timm's own folder layout, so that timm, and any later stage, can start from it."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
import torch

from udonx.engine.folder import StageFolder
from udonx.engine.load import load_stage
from udonx.files import atomic_path, write_atomic


def export_backbone(stage: str | Path, out: str | Path, dtype: str = "float32") -> Path:
    """Write `out`/config.json and `out`/model.safetensors; returns `out`.

    Args: `stage` is the folder of a finished stage; `dtype` is "float32", "float16" or "bfloat16": loaded back, weights are float32.

    Raises ValueError where the folder is no finished stage or its backbone is not a timm model.
    """
    folder = StageFolder(Path(stage))
    model = load_stage(folder, torch.device("cpu"))
    spec = folder.read_model().spec
    if spec["backbone"]["use"] != "timm":
        raise ValueError(f"{folder.path}: its backbone is '{spec['backbone']['use']}', only timm models have timm's layout")
    network = model.backbone.model
    half = getattr(torch, dtype)
    tensors = {name: tensor.to(half) if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()}
    crop = spec["transform"]["crop"]
    config = {
        "architecture": spec["backbone"]["options"]["model"],
        "num_classes": 0,
        "num_features": model.backbone.dim,
        "model_args": spec["backbone"]["options"].get("kwargs", {}),
        "pretrained_cfg": {
            "input_size": [3, crop, crop],
            # where it is set, timm builds the model for this input size, so that position embeddings are taken as they are
            "fixed_input_size": network.pretrained_cfg.get("fixed_input_size", False),
            "interpolation": "bilinear",
            "mean": spec["backbone"]["mean"],
            "std": spec["backbone"]["std"],
            "num_classes": 0,
            "first_conv": network.pretrained_cfg.get("first_conv"),
            "classifier": network.pretrained_cfg.get("classifier"),
        },
    }
    out = Path(out)
    with atomic_path(out / "model.safetensors") as temporary:
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
    write_atomic(out / "config.json", json.dumps(config, indent=1))
    return out

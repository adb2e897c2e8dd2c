"""The official model's arrays and names (JAX, flax) as torch tensors and this project's names.

Flax kernels are (in, out), attention kernels (in, heads, head_dim), convolutions (h, w, in, out).
Names on the torch side are those of timm's VisionTransformer, of the linear head
(`projection.weight`) and of the cosine classifier (`kernel_CD`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Arrays = Mapping[str, NDArray[Any]]
_ATTENTION = "MultiHeadDotProductAttention_0"


def read_arrays(shared_dir: Path, name: str) -> dict[str, NDArray[Any]]:
    """All arrays of `parity/<name>.npz`."""
    with np.load(shared_dir / "parity" / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def read_json(shared_dir: Path, name: str) -> Any:
    """The content of `parity/<name>.json`."""
    return json.loads((shared_dir / "parity" / f"{name}.json").read_text(encoding="utf-8"))


def below(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays under a path, by the rest of their path: `below(arrays, "udon_vit/params/")`."""
    return {
        key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)
    }


def tensor(array: NDArray[Any]) -> Tensor:
    """An array as a tensor of its own memory; integers become int64."""
    copied = torch.from_numpy(np.array(array))
    return copied if copied.is_floating_point() else copied.long()


def images_b3hw(images_BHW3: NDArray[Any]) -> Tensor:
    """Images [B, H, W, 3] as float32 [B, 3, H, W]."""
    return tensor(images_BHW3).permute(0, 3, 1, 2).contiguous()


def linear_state(dense: Arrays) -> dict[str, Tensor]:
    """A flax Dense {kernel, bias} as the state of the linear head."""
    return {
        "projection.weight": tensor(dense["kernel"]).T.contiguous(),
        "projection.bias": tensor(dense["bias"]),
    }


def classifier_state(projection: Arrays) -> dict[str, Tensor]:
    """A flax output projection {kernel} as the state of the cosine classifier."""
    return {"kernel_CD": tensor(projection["kernel"]).T.contiguous()}


def vit_state(params: Arrays) -> dict[str, Tensor]:
    """The backbone part of a flax ViT (parameters, or gradients of them) in the names of timm's
    VisionTransformer.
    """
    state = {
        "cls_token": tensor(params["cls"]),
        "pos_embed": tensor(params["Transformer/posembed_input/pos_embedding"]),
        "patch_embed.proj.weight": (
            tensor(params["embedding/kernel"]).permute(3, 2, 0, 1).contiguous()
        ),
        "patch_embed.proj.bias": tensor(params["embedding/bias"]),
        "norm.weight": tensor(params["Transformer/encoder_norm/scale"]),
        "norm.bias": tensor(params["Transformer/encoder_norm/bias"]),
    }
    depth = sum(
        key.startswith("Transformer/encoderblock_") and key.endswith("LayerNorm_0/scale")
        for key in params
    )
    for index in range(depth):
        block = below(params, f"Transformer/encoderblock_{index}/")
        state |= {f"blocks.{index}.{name}": value for name, value in _block_state(block).items()}
    return state


def _block_state(block: Arrays) -> dict[str, Tensor]:
    dim = block["LayerNorm_0/scale"].shape[0]
    parts = ("query", "key", "value")
    state = {
        "attn.qkv.weight": torch.cat(
            [tensor(block[f"{_ATTENTION}/{part}/kernel"]).reshape(dim, dim).T for part in parts]
        ),
        "attn.qkv.bias": torch.cat(
            [tensor(block[f"{_ATTENTION}/{part}/bias"]).reshape(dim) for part in parts]
        ),
        "attn.proj.weight": (
            tensor(block[f"{_ATTENTION}/out/kernel"]).reshape(dim, dim).T.contiguous()
        ),
        "attn.proj.bias": tensor(block[f"{_ATTENTION}/out/bias"]),
    }
    for ours, theirs in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_1")):
        state[f"{ours}.weight"], state[f"{ours}.bias"] = (
            tensor(block[f"{theirs}/scale"]),
            tensor(block[f"{theirs}/bias"]),
        )
    for ours, theirs in (("mlp.fc1", "MlpBlock_0/Dense_0"), ("mlp.fc2", "MlpBlock_0/Dense_1")):
        state[f"{ours}.weight"] = tensor(block[f"{theirs}/kernel"]).T.contiguous()
        state[f"{ours}.bias"] = tensor(block[f"{theirs}/bias"])
    return state


def heads_state(params: Arrays, domains: int) -> dict[str, dict[str, Tensor]]:
    """States of the heads and classifiers in `params`, those that the model has, by role.

    `student_head`, `teacher_head/<i>`, `student_classifier/<i>`, `teacher_classifier/<i>` for
    domain indices i. The baseline's `projection` and `output_projection_<i>` are its student head
    and student classifiers.
    """
    found: dict[str, dict[str, Tensor]] = {}
    dense = {"student_head": ("universal_student_projection_domain_0/Dense_0/", "projection/")}
    kernels = {}
    for index in range(domains):
        dense[f"teacher_head/{index}"] = (f"teacher_projection_domain_{index}/Dense_0/",)
        kernels[f"teacher_classifier/{index}"] = (f"teacher_output_projection_{index}/",)
        kernels[f"student_classifier/{index}"] = (
            f"universal_student_output_projection_{index}/",
            f"output_projection_{index}/",
        )
    for names, convert in ((dense, linear_state), (kernels, classifier_state)):
        for role, prefixes in names.items():
            for prefix in prefixes:
                if arrays := below(params, prefix):
                    found[role] = convert(arrays)
    return found


def tiny_vit_kwargs() -> dict[str, Any]:
    """What makes timm's `vit_tiny_patch16_224` the tiny ViT of forward.npz and of the trajectories,
    for images of 32 x 32.
    """
    return {
        "patch_size": 8,
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 4,
        "mlp_ratio": 2.0,
        "act_layer": "gelu_tanh",
    }

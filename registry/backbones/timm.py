"""Any image model of timm as a backbone: https://huggingface.co/docs/timm."""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import timm
import torch
from pydantic import Field
from timm.layers import PatchEmbed
from timm.models import get_pretrained_cfg, group_parameters, split_model_name_tag
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from registry import backbones
from registry.backbones.timm_arguments import REFUSED
from registry.contracts import Start
from registry.registry import nearest

_CLASHES = re.compile(
    r"(unexpected keyword|multiple values for|multiple values for keyword) argument '(\w+)'"
)


@backbones.register("timm")
class TimmBackbone(nn.Module):
    """A timm model without its classifier: normalised images to pooled features.

    Maps images float [B, 3, H, W], H = W = `start.crop`, already normalised, to features float [B,
    dim]. They are what the model's own pooling gives; for a ViT the CLS token after the final norm.

    The model starts at random, or from `start.folder` as timm itself loads a folder: config.json
    and weights, position embeddings resized, float16 files into float32 parameters.

    Source: UDON, NeurIPS 2024, uses ViTs of the augreg, ImageNet and CLIP families; tanh-GELU is
    the released code's.

    Raises:
        ValueError: an unknown model, kwargs that the model does not take, or a folder that holds
            another model or weights that do not fit.

    Example:
        >>> start, kwargs = Start(folder=None, crop=32), {"act_layer": "gelu_tanh"}
        >>> backbone = TimmBackbone(start, model="test_vit", kwargs=kwargs)
        >>> backbone(torch.zeros(2, 3, 32, 32)).shape == (2, backbone.dim)
        True
    """

    dim: int

    def __init__(
        self,
        start: Start,
        *,
        model: Annotated[
            str,
            Field(description="timm's name of the model, without a tag: `vit_base_patch16_224`."),
        ],
        kwargs: Annotated[
            dict[str, Any] | None,
            Field(
                description='Passed to `timm.create_model`, such as `{ act_layer = "gelu_tanh" }`.'
            ),
        ] = None,
        batch_norm: Annotated[
            Literal["fixed", "training"],
            Field(
                description=(
                    "`fixed` normalises with the stored statistics, also in training, while scale"
                    " and shift still learn; "
                    "`training` is torch's usual behaviour."
                )
            ),
        ] = "fixed",
        layout: Annotated[
            Literal["auto", "channels_last", "contiguous"],
            Field(
                description=(
                    "Memory format; `auto` is `channels_last` for models with convolutions beside a"
                    " patch embedding."
                )
            ),
        ] = "auto",
    ) -> None:
        super().__init__()
        self.model = _build(start, model, kwargs or {})
        self.batch_norm = batch_norm
        convolutional = layout == "channels_last" or (
            layout == "auto" and _is_convolutional(self.model)
        )
        self.memory_format = torch.channels_last if convolutional else torch.contiguous_format
        self.model.to(memory_format=self.memory_format)
        with _in_one_sentence(start, model, kwargs or {}):
            self.dim = self._probe(start.crop, model)
        self.train()

    def _probe(self, crop: int, model: str) -> int:
        # timm's num_features is not the width of the output for every model and pooling: one blank
        # image tells for all.
        self.eval()
        with torch.no_grad():
            features_BF = self(torch.zeros(1, 3, crop, crop))
        if features_BF.ndim != 2:
            shape = tuple(features_BF.shape[1:])
            raise ValueError(
                f"backbone {model}: gives features of shape {shape} per image, not a vector; give"
                " it a global_pool in kwargs"
            )
        return features_BF.shape[1]

    def layers(self) -> list[list[nn.Parameter]]:
        """The parameters by depth, as timm groups them; the layer next to the image comes first.

        Raises:
            ValueError: timm has no groups of this model.
        """
        matcher_of = getattr(self.model, "group_matcher", None)
        if matcher_of is None:
            name = type(self.model).__name__
            raise ValueError(f"backbone {name}: timm has no layer groups of it; omit layer_decay")
        depth = group_parameters(self.model, matcher_of(coarse=False), reverse=True)
        layers: dict[int, list[nn.Parameter]] = {number: [] for number in sorted({*depth.values()})}
        for name, parameter in self.model.named_parameters():
            layers[depth[name]].append(parameter)
        return list(layers.values())

    def train(self, mode: bool = True) -> TimmBackbone:
        """Set training or evaluation mode.

        With `batch_norm = "fixed"` batch norms stay in evaluation mode.
        """
        super().train(mode)
        if self.batch_norm == "fixed":
            for module in self.model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Features float [B, F] of normalised images float [B, 3, H, W]."""
        return self.model(images_B3HW.contiguous(memory_format=self.memory_format))


def _build(start: Start, model: str, kwargs: dict[str, Any]) -> nn.Module:
    architecture, _ = split_model_name_tag(model)
    if not timm.is_model(architecture):
        close = nearest(architecture, timm.list_models())
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(f"backbone {model}: timm {timm.__version__} has no such model{hint}")
    _check_arguments(model, "kwargs", kwargs)
    name, registered = model, get_pretrained_cfg(model) or get_pretrained_cfg(architecture)
    # timm marks the models that are built for one input size, and only those take img_size.
    fixed_size = registered is not None and registered.fixed_input_size
    if start.folder is not None:
        name, config = f"local-dir:{start.folder}", _read_config(start.folder, model)
        if (found := config["architecture"]) != architecture:
            raise ValueError(
                f"backbone {model}: the folder {start.folder} holds {found}; name that model or"
                " another folder"
            )
        stored = config.get("model_args") or {}
        _check_arguments(
            model,
            f"model_args of {start.folder / 'config.json'}",
            stored,
            given=("img_size", "num_classes"),
        )
        fixed_size = fixed_size or config.get("pretrained_cfg", config).get(
            "fixed_input_size", False
        )
    size: dict[str, Any] = {"img_size": start.crop} if fixed_size else {}
    with _no_missing_weights(model, start), _in_one_sentence(start, model, kwargs):
        return timm.create_model(
            name, pretrained=start.folder is not None, num_classes=0, **size, **kwargs
        )


def _check_arguments(
    model: str, where: str, arguments: dict[str, Any], given: tuple[str, ...] = ()
) -> None:
    """Refuse what would load other weights or build another kind of model.

    Args:
        model: the model's name.
        where: the place of the arguments, for the error.
        arguments: what a person gives.
        given: arguments that we give ourselves and that are allowed all the same.
    """
    own = dict.fromkeys(
        inspect.signature(timm.create_model).parameters,
        "it is an argument of timm.create_model itself",
    )
    for key, reason in (own | REFUSED).items():
        if key in arguments and key not in given:
            raise ValueError(f"backbone {model}: {where} may not set {key!r}: {reason}")


@contextmanager
def _in_one_sentence(start: Start, model: str, kwargs: dict[str, Any]) -> Iterator[None]:
    """Turn what timm raises while it builds or loads a model into a ValueError of one sentence."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith("backbone "):
            raise
        raise _explained(error, start, model, kwargs) from error
    except (
        Exception
    ) as error:  # models state their limits in asserts, and loaders raise classes of their own
        raise _explained(error, start, model, kwargs) from error


def _read_config(folder: Path, model: str) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(
            f"backbone {model}: {file} is absent; start weights are a folder with timm's"
            " config.json and model.safetensors"
        )
    config = json.loads(file.read_text(encoding="utf-8"))
    if "architecture" not in config:
        raise ValueError(
            f"backbone {model}: {file} names no architecture; start weights are a folder with"
            " timm's config.json"
        )
    return config


def _explained(error: Exception, start: Start, model: str, kwargs: dict[str, Any]) -> ValueError:
    words = " ".join(str(error).split())
    if isinstance(error, KeyError):  # timm looks names such as act_layer up in a table
        for key, value in kwargs.items():
            if value == error.args[0]:
                return ValueError(
                    f"backbone {model}: kwargs has {key} = {value!r}, which timm does not know"
                )
    if (match := _CLASHES.search(words)) and match.group(2) in kwargs:
        why = (
            "takes no such argument" if match.group(1) == "unexpected keyword" else "sets it itself"
        )
        return ValueError(
            f"backbone {model}: kwargs has {match.group(2)!r}, but timm's {model} {why}"
        )
    if "loading state_dict" in words:
        return ValueError(
            f"backbone {model}: the weights in {start.folder} do not fit the model:"
            f" {words.partition(': ')[2]:.300}"
        )
    source = f" with the weights in {start.folder}" if start.folder else ""
    return ValueError(
        f"backbone {model}: timm {timm.__version__} cannot build it for images of {start.crop} x"
        f" {start.crop}{source}: {type(error).__name__}: {words:.300}"
    )


@contextmanager
def _no_missing_weights(model: str, start: Start) -> Iterator[None]:
    # timm loads a file that lacks weights and only logs it at level INFO: such a model would train
    # from noise in silence.
    lines: list[str] = []
    logger = logging.getLogger("timm.models._builder")
    level, shown = logger.level, logger.getEffectiveLevel()

    def read(record: logging.LogRecord) -> bool:
        lines.append(record.getMessage())
        return record.levelno >= shown

    logger.addFilter(read)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeFilter(read)
        logger.setLevel(level)
    for line in lines:
        if line.startswith("Missing keys ("):
            keys = line[len("Missing keys (") :].split(")")[0].split(", ")
            raise ValueError(
                f"backbone {model}: the weights in {start.folder} lack {len(keys)} of the model's"
                f" tensors, such as {keys[0]}"
            )


def _is_convolutional(model: nn.Module) -> bool:
    stems = {id(module.proj) for module in model.modules() if isinstance(module, PatchEmbed)}
    return any(
        isinstance(module, nn.Conv2d) and id(module) not in stems for module in model.modules()
    )

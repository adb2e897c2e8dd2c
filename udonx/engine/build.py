"""The one place that turns a StageSpec into a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from registry.contracts import HeadSpec, Sampler, StageSpec, Start
from registry.heads.classifier import CosineClassifier
from udonx import components
from udonx.data.seeds import stream_seed
from udonx.engine.model import Classifiers, Model

_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16}


@contextmanager
def seeded(seed: int | None, purpose: str) -> Iterator[None]:
    """Run torch's CPU generator from the stream (seed, purpose), and put it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed or 0, purpose))
        yield


def build_model(spec: StageSpec, classes: Mapping[str, int], folder: Path | None) -> Model:
    """The model of a stage on the CPU, every part initialised from its own random stream.

    Args: `classes` counts the training classes of each domain; `folder` holds the start weights in timm's layout, None leaves the
    backbone as the seed initialises it.

    Raises ValueError, in one sentence, where the backbone or a head cannot be built from its options.
    """
    with seeded(spec.seed, "init/backbone"):
        start = Start(folder=folder, crop=spec.transform.crop)
        backbone = components.get("backbones", spec.backbone)(start, **spec.backbone.options)
    parts: dict[str, Any] = {}
    if spec.student_head is not None:
        parts["student_head"] = _head(spec, spec.student_head, backbone.dim, "student_head")
        if spec.training is not None:
            parts["student_classifiers"] = _classifiers(spec, classes, spec.student_head.dim, "student", spec.classifier == "joint")
    if spec.teacher_head is not None:
        parts["teacher_heads"] = [_head(spec, spec.teacher_head, backbone.dim, f"teacher_head/{domain}") for domain in spec.domains]
        parts["teacher_classifiers"] = _classifiers(spec, classes, spec.teacher_head.dim, "teacher", False)
    return Model(
        backbone=backbone,
        mean=spec.backbone.mean,
        std=spec.backbone.std,
        crop=spec.transform.crop,
        domains=spec.domains,
        upright=spec.transform.orientation == "exif",
        autocast=_AUTOCAST[spec.precision],
        **parts,
    )


def _head(spec: StageSpec, head: HeadSpec, in_dim: int, purpose: str) -> nn.Module:
    with seeded(spec.seed, f"init/{purpose}"):
        built = components.get("heads", head)(in_dim, head.dim, **head.options)
    if not hasattr(built, "fit"):
        _check_head(built, head, in_dim)
    return built


def _check_head(built: nn.Module, head: HeadSpec, in_dim: int) -> None:
    """A head of another width, or one that does not normalise, would train and give numbers that mean nothing."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        probe_BF = torch.nn.functional.normalize(torch.randn(4, in_dim))
        training = built.training
        embedding_BD = built.eval()(probe_BF)
        built.train(training)
    if list(embedding_BD.shape) != [4, head.dim]:
        raise ValueError(
            f"head '{head.use}' turns features [4, {in_dim}] into {list(embedding_BD.shape)}, allowed is [4, {head.dim}], its dim"
        )
    if not torch.allclose(embedding_BD.norm(dim=1), torch.ones(4), atol=1e-3):
        raise ValueError(f"head '{head.use}' gives embeddings that are not of unit length; end its forward with an L2 normalisation")


def _classifiers(spec: StageSpec, classes: Mapping[str, int], dim: int, branch: str, joint: bool) -> Classifiers:
    modules = []
    for domain in spec.domains:
        with seeded(spec.seed, f"init/classifier/{branch}/{domain}"):
            modules.append(CosineClassifier(dim, classes[domain]))
    return Classifiers(modules, spec.domains, joint)


def build_losses(spec: StageSpec) -> dict[str, Any]:
    """The stage's losses by name, ready to be called. A loss that is a module (with parameters) is refused: nothing would train it."""
    built = {}
    for loss in spec.training.losses:
        built[loss.name] = components.get("losses", loss)(**loss.options)
        if isinstance(built[loss.name], nn.Module) and any(True for _ in built[loss.name].parameters()):
            raise ValueError(
                f"loss '{loss.name}' ('{loss.use}') has parameters of its own, which no optimiser group holds; keep state out of a loss"
            )
    return built


def build_sampler(spec: StageSpec, train_counts: Mapping[str, int]) -> Sampler:
    """The stage's sampler. Raises ValueError where its options do not fit the domains."""
    sampler = spec.training.sampler
    counts = {domain: train_counts[domain] for domain in spec.domains}
    seed = stream_seed(spec.seed or 0, "sampler")
    built = components.get("samplers", sampler)(spec.domains, counts, spec.training.steps, seed, **sampler.options)
    if not isinstance(built, Sampler):
        lacks = [
            name
            for name in ("domain_at", "known_until", "clears_at", "update", "shares", "state_dict", "load_state_dict")
            if not hasattr(built, name)
        ]
        raise ValueError(f"sampler '{sampler.use}' lacks the methods {', '.join(lacks)}; see Sampler in registry/contracts.py")
    return built

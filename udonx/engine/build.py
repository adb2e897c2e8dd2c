"""The one place that turns a StageSpec into a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from registry import samplers
from registry.classifiers import DEFAULT
from registry.contracts import (
    ComponentSpec,
    HeadSpec,
    InitSpec,
    LossContext,
    LossSpec,
    Optimiser,
    Sampler,
    StageSpec,
    Start,
)
from registry.heads.initialisers import l2_normalise
from registry.updates.split import SplitUpdate
from udonx.common.seeds import stream_seed
from udonx.config import descriptions as components
from udonx.config import specs
from udonx.engine.errors import explained
from udonx.engine.model import Classifiers, Model, projection_of

_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16}


@contextmanager
def seeded(seed: int | None, purpose: str) -> Iterator[None]:
    """Run torch's CPU generator from the stream (seed, purpose), and put it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed or 0, purpose))
        yield


def build_model(spec: StageSpec, classes: Mapping[str, int], folder: Path | None) -> Model:
    """The model of a stage on the CPU, every part initialised from its own random stream.

    Args:
        spec: the stage.
        classes: training classes of each domain.
        folder: start weights in timm's layout; None leaves the backbone as the seed initialises it.

    Raises:
        ValueError: the backbone or a head is none, or does not fit its options.
        TrainingError: a component of a plug-in fails.
    """
    with seeded(spec.seed, "init/backbone"):
        backbone = _built(
            "backbones",
            f"backbone '{spec.backbone.use}'",
            spec.backbone,
            Start(folder=folder, crop=spec.transform.crop),
        )
    _check_backbone(backbone, spec)
    parts: dict[str, Any] = {}
    if spec.student_head is not None:
        parts["student_head"] = build_head(spec, spec.student_head, backbone.dim, "student_head")
        if spec.training is not None:
            parts["student_classifiers"] = _classifiers(
                spec, classes, spec.student_head, "student", spec.classifier == "joint"
            )
    if spec.teacher_head is not None:
        parts["teacher_heads"] = [
            build_head(spec, spec.teacher_head, backbone.dim, f"teacher_head/{domain}")
            for domain in spec.domains
        ]
        parts["teacher_classifiers"] = _classifiers(
            spec, classes, spec.teacher_head, "teacher", False
        )
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


def _built(kind: str, what: str, spec: ComponentSpec, *supplied: Any) -> Any:
    """A component, built from what its builder supplies and from its options.

    What a plug-in's own code raises becomes a sentence with its line.
    """
    target = specs.component_of(kind, spec)
    # it says in its own words what is wrong with its options
    if components.is_builtin(kind, spec.use):
        return target(*supplied, **spec.options)
    with explained(what, target):
        return target(*supplied, **spec.options)


def _check_module(built: Any, what: str) -> None:
    if not isinstance(built, nn.Module):
        raise ValueError(f"{what} is a {type(built).__name__}, allowed is a torch.nn.Module")
    if "_modules" not in vars(built):
        raise ValueError(
            f"{what} does not call super().__init__() before anything else in its __init__, as a"
            " torch.nn.Module must"
        )


def _check_backbone(built: nn.Module, spec: StageSpec) -> None:
    """Refuse a plug-in's backbone that gives another width than it says.

    It would fail in a head, far from where it is wrong.

    Raises:
        ValueError: its width is another.
    """
    if components.is_builtin("backbones", spec.backbone.use):
        return
    what, crop = f"backbone '{spec.backbone.use}'", spec.transform.crop
    _check_module(built, what)
    dim = getattr(built, "dim", None)
    if type(dim) is not int or dim < 1:
        raise ValueError(
            f"{what} has dim = {dim!r}, allowed is the width of its features, a whole number from"
            " 1 on"
        )
    with explained(what, type(built)):
        features_BF = _probed(built, torch.zeros(2, 3, crop, crop))
    _check_shape(features_BF, f"{what} turns images {[2, 3, crop, crop]} into", [2, dim])


def build_head(spec: StageSpec, head: HeadSpec, in_dim: int, purpose: str) -> nn.Module:
    """A head of a stage, initialised from a random stream of its own.

    Args:
        spec: the stage.
        head: what it is.
        in_dim: the length of what it is given.
        purpose: what it is for, which names its random stream.

    Raises:
        ValueError: it is no head, or one of another width.
        TrainingError: a plug-in's own code fails.
    """
    what = f"head '{head.use}'"
    with seeded(spec.seed, f"init/{purpose}"):
        built = _built("heads", what, head, in_dim, head.dim)
    _check_module(built, what)
    if not hasattr(built, "fit"):
        _check_head(built, head, in_dim)
    return built


def _check_head(built: nn.Module, head: HeadSpec, in_dim: int) -> None:
    """Refuse a head of another width, or one that does not normalise what it projects.

    It would train, and give numbers that mean nothing.

    Raises:
        ValueError: it is such a head.
    """
    what = f"head '{head.use}'"
    with explained(what, type(built)), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features_BF = nn.functional.normalize(torch.randn(4, in_dim))
        embedding_BD = _probed(built, features_BF)
    _check_shape(embedding_BD, f"{what} turns features {[4, in_dim]} into", [4, head.dim])
    if not torch.allclose(embedding_BD.norm(dim=1), torch.ones(4), atol=1e-3):
        raise ValueError(
            f"{what} gives embeddings that are not of unit length; end its forward with an L2"
            " normalisation"
        )
    if raw_embedding := projection_of(built):
        with explained(what, type(built)):
            raw_BD = _probed(built, features_BF, raw_embedding)
        _check_shape(
            raw_BD, f"`project` of {what} turns features {[4, in_dim]} into", [4, head.dim]
        )
        if not torch.allclose(l2_normalise(raw_BD), embedding_BD, atol=1e-5):
            raise ValueError(
                f"{what} has a method `project`, but its forward is not the L2 normalisation of"
                " what that returns; make it so, or give the method another name"
            )


def _probed(module: nn.Module, batch: Tensor, call: Callable[[Tensor], Any] | None = None) -> Any:
    """What a module makes of a batch in evaluation mode.

    Its mode and torch's generator are as before.

    Args:
        module: the module.
        batch: what it is called with.
        call: the method of it that is called; without it, the module itself.
    """
    training = module.training
    module.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        made = (call or module)(batch)
    module.train(training)
    return made


def _check_shape(made: Any, turns: str, allowed: list[int], end: str = ", its dim") -> None:
    if not isinstance(made, Tensor):
        raise ValueError(f"{turns} a {type(made).__name__}, allowed is a tensor {allowed}")
    if list(made.shape) != allowed:
        raise ValueError(f"{turns} {list(made.shape)}, allowed is {allowed}{end}")


def _classifiers(
    spec: StageSpec, classes: Mapping[str, int], head: HeadSpec, branch: str, joint: bool
) -> Classifiers:
    classifier = head.classifier or ComponentSpec(use=DEFAULT)
    what = f"classifier '{classifier.use}'"
    modules = []
    for domain in spec.domains:
        with seeded(spec.seed, f"init/classifier/{branch}/{domain}"):
            built = _built("classifiers", what, classifier, head.dim, classes[domain])
        if not components.is_builtin("classifiers", classifier.use):
            _check_classifier(built, what, head.dim, classes[domain])
        modules.append(built)
    return Classifiers(modules, spec.domains, joint)


def _check_classifier(built: nn.Module, what: str, dim: int, classes: int) -> None:
    """Refuse a plug-in's classifier that could not be joined, or gives another number of cosines.

    Raises:
        ValueError: it is such a classifier.
    """
    _check_module(built, what)
    shapes = {name: list(parameter.shape) for name, parameter in built.named_parameters()}
    if not shapes or any(shape[:1] != [classes] for shape in shapes.values()):
        raise ValueError(
            f"{what} has parameters of the shapes {shapes} for {classes} classes, allowed is one or"
            " more, each with the classes along its first dimension"
        )
    with explained(what, type(built)):
        cosine_BC = _probed(built, nn.functional.normalize(torch.ones(2, dim)))
    _check_shape(cosine_BC, f"{what} turns embeddings {[2, dim]} into", [2, classes], "")


def apply_init(model: Model, init: InitSpec, sources: Sequence[Model]) -> None:
    """Let a new model start from those of earlier stages; it is changed in place.

    Args:
        model: as the start weights and the seed have made it.
        init: how it starts.
        sources: the models of `init.stages`, frozen, on the device of `model`.

    Raises:
        ValueError: a source does not fit the model or the options.
        TrainingError: an init of a plug-in fails.
    """
    for number, source in enumerate(sources, start=1):
        if not (torch.equal(model.scale, source.scale) and torch.equal(model.shift, source.shift)):
            raise ValueError(
                f"init '{init.use}' needs rows whose start weights want images of the same mean and"
                f" std, but those of the row that `from` names at place {number} want others; name"
                " rows of the same start weights"
            )
    _built("inits", f"init '{init.use}'", init, model, sources)


def build_losses(spec: StageSpec, class_counts: Mapping[str, Tensor]) -> dict[str, Any]:
    """The stage's losses by name, on the CPU, each initialised from its own random stream.

    Args:
        spec: a stage that trains.
        class_counts: int64 [C] of each domain, training images of each class.

    Raises:
        ValueError: a loss is a module that is not initialised as one.
        TrainingError: a loss of a plug-in fails while it is built.
    """
    return {loss.name: _loss(spec, loss, class_counts) for loss in spec.required_training.losses}


def needs_context(loss: LossSpec) -> bool:
    """Whether a loss is told of its stage when it is built."""
    return components.describe("losses", loss.use).facts["needs_context"]


def _loss(spec: StageSpec, loss: LossSpec, class_counts: Mapping[str, Tensor]) -> Any:
    what = f"loss '{loss.name}' ('{loss.use}')"
    supplied = (_context(spec, loss, class_counts),) if needs_context(loss) else ()
    with seeded(spec.seed, f"init/loss/{loss.name}"):
        built = _built("losses", what, loss, *supplied)
    if isinstance(built, nn.Module):
        _check_module(built, what)
    return built


def _context(spec: StageSpec, loss: LossSpec, class_counts: Mapping[str, Tensor]) -> LossContext:
    """What a loss of a stage may know."""
    student = spec.student_head
    teacher = spec.teacher_head or next(
        (
            earlier.stage.teacher_head or earlier.stage.student_head
            for earlier in spec.teachers
            if earlier.name is None
        ),
        None,
    )
    return LossContext(
        name=loss.name,
        on=loss.on,
        domains=spec.domains,
        class_counts={domain: class_counts[domain] for domain in spec.domains},
        student_dim=student.dim if student else None,
        teacher_dim=teacher.dim if teacher else None,
        steps=spec.required_training.steps,
    )


def build_sampler(spec: StageSpec, train_counts: Mapping[str, int]) -> Sampler:
    """The stage's sampler.

    Args:
        spec: a stage that trains.
        train_counts: training images of each domain.

    Raises:
        ValueError: it is no sampler, or does not fit its options.
        TrainingError: a sampler of a plug-in fails while it is built.
    """
    training = spec.required_training
    sampler = training.sampler
    counts = {domain: train_counts[domain] for domain in spec.domains}
    what = f"sampler '{sampler.use}'"
    built = _built(
        "samplers",
        what,
        sampler,
        spec.domains,
        counts,
        training.steps,
        stream_seed(spec.seed or 0, "sampler"),
    )
    if lacks := [name for name in samplers.METHODS if not hasattr(built, name)]:
        raise ValueError(
            f"{what} lacks the methods {', '.join(lacks)}; see Sampler in"
            " registry/contracts/protocols.py"
        )
    return built


def build_update(
    spec: StageSpec, groups: list[dict[str, Any]], options: Optimiser
) -> torch.optim.Optimizer:
    """The stage's update rule over groups of parameters.

    Args:
        spec: a stage that trains.
        groups: "params" and "lr" of each.
        options: of [optimiser].

    Raises:
        ValueError: it is no optimiser of torch, or does not fit its options or those of
            [optimiser].
        TrainingError: a rule of a plug-in fails while it is built.
    """
    update = spec.required_training.update or ComponentSpec(use="adamw")
    what = f"update '{update.use}'"
    built = _built("updates", what, update, groups, options)
    if not isinstance(built, torch.optim.Optimizer):
        got = type(built).__name__
        raise ValueError(f"{what} is a {got}, allowed is a torch.optim.Optimizer")
    if isinstance(built, SplitUpdate) and options.inactive_heads == "drift":
        raise ValueError(
            f"{what} must know which losses reach a head, but inactive_heads = 'drift' gives a"
            " gradient to all; use 'skip'"
        )
    return built

"""What is taken for a model: trained stages, exported folders, and backbones off the shelf."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import attrs
import torch

from registry.contracts import StageSpec, Transform
from registry.schemes.recipes import read_transform
from udonx.common.words import did_you_mean, display_path, unknown
from udonx.config.backbones import BackboneConfig, read_backbones
from udonx.config.keys import PLAIN_KEYS
from udonx.config.merge import Layer
from udonx.config.problems import ConfigError, Problem
from udonx.config.settings import check_setting, merged_table, read_setting
from udonx.config.typed import table_options, validate
from udonx.engine.build import build_model
from udonx.engine.errors import StageError
from udonx.engine.export import is_export
from udonx.engine.exported import ExportedFolder
from udonx.engine.exported_graph import GRAPH_FILES, ExportedGraph
from udonx.engine.graph import ONNX_FILE, TORCH_FILE
from udonx.engine.load import load_stage, read_spec
from udonx.engine.model import Model
from udonx.evaluation.protocol import Embedding
from udonx.inputs.weights import StartWeights, architecture, resolve
from udonx.planning.identity import digest, to_plain
from udonx.planning.plan import backbone_spec
from udonx.planning.stages import learned_domains
from udonx.store.results import Results
from udonx.store.stage import StageFolder

ALLOWED = (
    "allowed are a folder of results/stages, one that `udonx export` wrote or its file"
    f" {ONNX_FILE} or {TORCH_FILE}, start weights in timm's layout, SETTING:ROLE, and the name of a"
    " timm model"
)

_ROLE = "main"
_GRAPH_SUFFIXES = {Path(name).suffix for name in GRAPH_FILES}


class ReadyModel(Embedding, Protocol):
    """A model that embeds.

    Attributes:
        feature_dim: the width of its backbone's features; None where they cannot be had.
    """

    @property
    def feature_dim(self) -> int | None:
        """The width of the backbone's features."""


class ModelSource(Protocol):
    """Where a model is loaded from, once it is needed."""

    def load(self, device: torch.device) -> ReadyModel:
        """The model in eval mode, on a device."""
        ...

    def weigh(self) -> str:
        """What tells its weights from others."""
        ...


@attrs.frozen
class StageSource:
    """The best model of a trained stage."""

    folder: StageFolder

    def load(self, device: torch.device) -> Model:
        """The model in eval mode, on a device."""
        return load_stage(self.folder, device)

    def weigh(self) -> str:
        """The sha256 of its weights."""
        return self.folder.weigh_best().sha256


@attrs.frozen(kw_only=True)
class GivenModel:
    """A model that can be loaded, or evaluated.

    Attributes:
        name: what was given, as messages name it.
        origin: what opens it again from anywhere: an absolute path, or the name of a backbone.
        label: what the table calls it.
        row: the name of its row.
        spec: what it is. A backbone off the shelf has no domains: it is evaluated on any.
        learned: the domains that it learned from; None of a backbone off the shelf.
        source: where it is loaded from.
        id: what it is known by; None of a backbone off the shelf, which is the stage that a row
            `off_the_shelf` has on the same data.
    """

    name: str
    origin: str
    label: str
    row: str
    spec: StageSpec
    learned: frozenset[str] | None
    source: ModelSource
    id: str | None

    @property
    def identity(self) -> str:
        """What it is known by, whatever its data."""
        return self.id or digest(to_plain(self.spec))


@attrs.frozen
class BackboneSource:
    """A backbone as its start weights are."""

    spec: StageSpec
    start: StartWeights

    def load(self, device: torch.device) -> Model:
        """The model in eval mode, on a device."""
        return build_model(self.spec, {}, self.start.folder).requires_grad_(False).eval().to(device)

    def weigh(self) -> str:
        """The sha256 of its start weights."""
        return self.start.sha256


def open_models(given: Sequence[str | Path], weights: Path | None) -> list[GivenModel]:
    """The models that were given, with the place of those whose labels are equal in their labels.

    Args:
        given: folders, and names of backbones.
        weights: where start weights are looked up first.

    Raises:
        ConfigError: a setting or role that is not there.
        StageError: something that is no model.
        WeightsError: start weights that are not there.
    """
    models = [open_model(each, weights) for each in given]
    count = Counter(model.label for model in models)
    return [
        model
        if count[model.label] == 1
        else attrs.evolve(model, label=f"{model.label} ({model.name})")
        for model in models
    ]


def open_model(
    given: str | Path, weights: Path | None = None, *, unfinished: bool = False
) -> GivenModel:
    """The model that was given.

    Args:
        given: a folder, or the name of a backbone.
        weights: where start weights are looked up first.
        unfinished: whether a stage that still trains will do: its best model so far.

    Raises:
        ConfigError: a setting or role that is not there.
        StageError: something that is no model.
        WeightsError: start weights that are not there.
    """
    path = Path(given)
    if (path / "model.json").is_file():
        return _stage(StageFolder(path), unfinished)
    if is_export(path):
        return _export(path, ExportedFolder(path))
    if path.suffix in _GRAPH_SUFFIXES and path.is_file():
        return _export(path, ExportedGraph(path))
    if graphs := [path / name for name in GRAPH_FILES if (path / name).is_file()]:
        return _export(path, ExportedGraph(graphs[0]))
    if (path / "config.json").is_file():
        return _weights_folder(path)
    if path.exists():
        raise StageError(f"{display_path(path)} is no trained stage and no other model; {ALLOWED}")
    setting, colon, role = str(given).partition(":")
    return _role(setting, role, weights) if colon else _timm_model(str(given), weights)


def _stage(folder: StageFolder, unfinished: bool) -> GivenModel:
    name = display_path(folder.path)
    if folder.done is None and not unfinished:
        raise StageError(f"{name} is not trained to its end; the same `udonx run` continues it")
    identity, spec = folder.read_model().id, read_spec(folder)
    return GivenModel(
        name=name,
        origin=str(folder.path.resolve()),
        label=_label(folder, identity),
        row=folder.path.resolve().name,
        spec=spec,
        learned=learned_domains(spec),
        source=StageSource(folder),
        id=identity,
    )


def _label(folder: StageFolder, identity: str) -> str:
    """The row and seed that a stage was first trained for, else the folder's name.

    Rows that came later may use the same stage in another way, such as with `tta`. A trial of
    tuning is no row: it has the row's name with other values, and is called a trial.
    """
    path = folder.path.resolve()
    runs = Results(path.parent.parent).runs()
    own = [run for run in runs if run.stages and run.stages[-1] == identity]
    for run in sorted(own, key=lambda run: run.is_trial):
        name = f"{run.row}, a trial" if run.is_trial else run.row
        return name if run.seed is None else f"{name}, seed {run.seed}"
    return path.name


def _export(path: Path, export: ExportedFolder | ExportedGraph) -> GivenModel:
    """An export that was named by its folder or by a file in it."""
    name = (path if path.is_dir() else path.parent).resolve().name
    return GivenModel(
        name=display_path(path),
        origin=str(path.resolve()),
        label=name,
        row=name,
        spec=export.spec,
        learned=export.learned,
        source=export,
        id=export.id,
    )


# ---------------------------------------------------------------------- backbones off the shelf


def _role(setting: str, role: str, weights: Path | None) -> GivenModel:
    """A role of a setting, with the setting's crop and precision."""
    name = f"{setting}:{role}"
    layers = read_setting(setting, Path(name)).layers
    problems: list[Problem] = []
    for layer in layers:
        check_setting(layer, problems)
    backbones = read_backbones(layers, problems)
    if not problems and role not in backbones:
        what = f"got '{role}', which is an {unknown(role, backbones, 'backbone role')}"
        problems.append(Problem(where=f"setting '{setting}'", message=what))
    plain, found = validate(
        tuple(option for option in PLAIN_KEYS if option.name == "precision"),
        {key: layer.data[key] for layer in layers for key in ("precision",) if key in layer.data},
    )
    transform, more = validate(
        table_options(Transform), merged_table(layers, "transform").data.get("transform", {})
    )
    problems += [
        Problem(where=f"setting '{setting}'", key=key, message=message)
        for key, message in (*found, *more)
    ]
    if problems:
        raise ConfigError(problems)
    start = resolve(backbones[role], weights)
    return _backbone(name, backbones[role], start, transform["crop"], plain["precision"])


def _timm_model(name: str, weights: Path | None) -> GivenModel:
    """A model of timm by its name, with or without a tag, at the size of its weights."""
    import timm

    model, _, tag = name.partition(".")
    if not timm.is_model(model):
        hint = did_you_mean(model, timm.list_models()) if "/" not in name else ""
        raise StageError(f"{name} is neither here nor a model of timm{hint or ';'} {ALLOWED}")
    registered = timm.get_pretrained_cfg(model, allow_unregistered=False)
    hub = tag or (registered.tag if registered else "")
    config = _config(name, {"model": model, "hub": hub or False})
    start = resolve(config, weights)
    return _backbone(name, config, start, start.crop)


def _weights_folder(folder: Path) -> GivenModel:
    """Start weights in timm's layout, at the size that they were made for."""
    name, folder = display_path(folder), folder.resolve()
    config = _config(name, {"model": architecture(folder), "local": folder.name})
    start = resolve(config, folder.parent)
    return _backbone(name, config, start, start.crop, origin=str(folder))


def _config(name: str, keys: dict[str, Any]) -> BackboneConfig:
    """The backbone of a table `[backbones.NAME]`."""
    problems: list[Problem] = []
    layer = Layer(where=name, prefix="", data={"backbones": {_ROLE: keys}})
    found = read_backbones([layer], problems)
    if problems:
        raise ConfigError(attrs.evolve(problem, key="") for problem in problems)
    return attrs.evolve(found[_ROLE], role=name)


def _backbone(
    name: str,
    config: BackboneConfig,
    start: StartWeights,
    crop: int | None,
    precision: Literal["fp32", "bf16"] = "fp32",
    origin: str = "",
) -> GivenModel:
    """The features of a backbone, as a row `off_the_shelf` would plan them."""
    if crop is None:
        raise StageError(
            f"{name}: its config.json does not say the size of its images (input_size); name it as"
            " SETTING:ROLE, whose crop counts"
        )
    spec = StageSpec(
        domains=(),
        backbone=backbone_spec(config, start),
        transform=read_transform(Transform(crop=crop), trains=False),
        precision=precision,
    )
    label = start.folder.name if config.local and start.folder else name
    return GivenModel(
        name=name,
        origin=origin or name,
        label=label,
        row=label,
        spec=spec,
        learned=None,
        source=BackboneSource(spec, start),
        id=None,
    )

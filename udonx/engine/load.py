"""A trained stage's model, loaded from its folder without data or results at hand."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from registry.contracts import StageSpec
from registry.registry import RegistryError
from udonx.common.errors import sentence_of
from udonx.common.files import DamagedFileError
from udonx.engine.build import build_model
from udonx.engine.errors import StageError
from udonx.engine.model import Model
from udonx.planning.identity import from_plain
from udonx.store.stage import RETRAIN, StageFolder


def load_stage(folder: StageFolder, device: torch.device) -> Model:
    """The best model of a finished stage, in eval mode, without gradients.

    Raises:
        StageError: the folder is no finished stage, or a component that it needs is not registered:
            nothing is imported for it, the message names the plug-in.
        DamagedFileError: its files are damaged.
    """
    if not (folder.path / "model.json").is_file() or not os.path.lexists(folder.best):
        raise StageError(
            f"{folder.path} is no trained stage: it needs model.json and best.safetensors (a folder"
            " of results/stages)"
        )
    model = _build(folder)
    tensors = folder.load_best()
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise DamagedFileError(
            folder.best, f"is not of this model ({' '.join(str(error).split())})", RETRAIN
        ) from error
    return model.requires_grad_(False).eval().to(device)


def read_spec(folder: StageFolder) -> StageSpec:
    """What a stage is.

    Raises:
        DamagedFileError: its model.json does not say it.
    """
    kept = folder.read_model()
    try:
        return from_plain(kept.spec)
    except Exception as error:  # cattrs raises what the classes and converters that it calls raise
        raise DamagedFileError(
            folder.path / "model.json", "does not describe a stage", RETRAIN
        ) from error


def _build(folder: StageFolder) -> Model:
    """The model of a stage as its seed initialises it."""
    spec, kept = read_spec(folder), folder.read_model()
    try:
        return build_model(spec, kept.classes, None)
    except RegistryError as error:
        plugins = " ".join(f"--plugin {_kept_plugin(folder, name)}" for name in kept.plugins)
        hint = (
            f"; it was trained with {plugins}: import that first, and nothing else of its name"
            if plugins
            else ""
        )
        raise StageError(f"{folder.path}: {error}{hint}") from None
    except Exception as error:
        # a description that was changed fails in as many ways as there are components; but where
        # memory or the disk fails, it may be right
        if sentence_of(error) is not None:
            raise
        why = " ".join(str(error).split())
        raise DamagedFileError(
            folder.path / "model.json", f"describes no model that can be built ({why})", RETRAIN
        ) from error


def _kept_plugin(folder: StageFolder, name: str) -> str:
    """A plug-in as the stage keeps it, so that it is the one that it was trained with."""
    kept = folder.path / "plugins" / Path(name).name
    return str(kept) if kept.is_file() else name

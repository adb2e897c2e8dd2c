"""A resolved experiment as TOML that plans the same stages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import tomli_w

from udonx.config.experiment import Experiment


def to_toml(experiment: Experiment) -> str:
    """The experiment with its setting and every row in full; paths that it names are as seen from the working directory."""
    data = {key: value for key, value in attrs.asdict(experiment.data).items() if value is not None}
    backbones = {}
    for role, backbone in experiment.backbones.items():
        start = {"use": backbone.use, "local": backbone.local, "hub": backbone.hub, "random": backbone.random or None}
        backbones[role] = {key: value for key, value in start.items() if value is not None} | backbone.options
    document: dict[str, Any] = {"title": experiment.title, "seeds": list(experiment.seeds)}
    if experiment.plugins:
        document["plugins"] = [_absolute(name, experiment.path.parent) for name in experiment.plugins]
    document["setting"] = {"data": data, "backbones": backbones}
    if experiment.observers:
        document["results"] = {"observers": list(experiment.observers)}
    document["rows"] = {row.name: row.data for row in experiment.wanted_rows()}
    return f"# {experiment.path} on setting '{experiment.setting}', resolved by udonx show\n{tomli_w.dumps(document)}"


def _absolute(name: str, beside: Path) -> str:
    path = beside / name
    return os.path.abspath(path) if name.endswith(".py") and path.is_file() else name

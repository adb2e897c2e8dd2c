"""Whether the data and the start weights that an experiment names are there.

They are looked up without torch and without a network.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from registry import sources
from registry.contracts import Source
from udonx.common.words import dotted_key, format_value, unknown
from udonx.config.backbones import BackboneConfig
from udonx.config.data import DataConfig
from udonx.config.experiment import Experiment
from udonx.config.problems import Problem
from udonx.config.rows import RowConfig
from udonx.inputs.starts import start_problems
from udonx.inputs.weights import hub_name, local_folder, others_that_fit, problem_of

_Key = TypeVar("_Key", bound=Hashable)


def from_hub(experiment: Experiment, weights_dir: Path | str | None) -> list[str]:
    """A sentence for each start weights that are in no local folder.

    A run takes them from the hub or its cache.
    """
    rows = (row for row in experiment.needed_rows() if not row.skipped)
    roles = dict.fromkeys(role for row in rows for role in row.roles.values())
    backbones = [experiment.backbones[role] for role in roles]
    missing = [
        backbone
        for backbone in backbones
        if not backbone.random and local_folder(backbone, weights_dir) is None
    ]
    return [
        f"weights {hub_name(backbone)} are in no folder here: run takes them from the hub, or its"
        f" cache{others_that_fit(backbone, weights_dir)}"
        for backbone in missing
    ]


OBSERVERS = "allowed is mongodb://HOST/DATABASE or a URL of SQLAlchemy such as sqlite:///runs.db"


def observer_problem(url: str) -> str | None:
    """Why an observer of the run record cannot be had.

    Its URL is none, or its package is not installed. Nothing is connected to.
    """
    if not re.match(r"[a-z][a-z0-9+]*://", url):
        return f"got {format_value(url)}, which is no URL; {OBSERVERS}"
    package, extra = ("pymongo", "mongo") if url.startswith("mongodb") else ("sqlalchemy", "sql")
    try:
        importlib.import_module(package)
    except ImportError:
        return (
            f"{format_value(url)} needs the package {package}; install it with pip install"
            f' "udonx[{extra}]"'
        )
    return None


_WRITERS = {"tensorboard": "tensorboard", "wandb": "wandb"}


def writer_problem(name: str) -> str | None:
    """Why curves cannot be written for a program: it is not known, or its package is missing."""
    if name not in _WRITERS:
        return f"got {format_value(name)}, which is an {unknown(name, _WRITERS, 'writer')}"
    if importlib.util.find_spec(_WRITERS[name]) is None:
        return (
            f"{format_value(name)} needs the package {_WRITERS[name]}; install it with pip install"
            f' "udonx[{name}]"'
        )
    return None


def make_source(data: DataConfig) -> Source:
    """The source that a setting names, with its options."""
    return sources.get(data.source)(**data.options)


def data_problems(where: str, data: DataConfig) -> list[Problem]:
    """What a data source says is wrong, each problem at its key of `[data]`."""
    try:
        found = list(make_source(data).problems(data.domains))
    except OSError:
        raise
    except Exception as error:  # a plug-in's own code
        found = [("source", _failed(data, error))]
    return [Problem(where=where, key=dotted_key("data", key), message=why) for key, why in found]


def _failed(data: DataConfig, error: Exception) -> str:
    """The sentence for what the code of a plug-in raises."""
    return f"'{data.source}' failed: {type(error).__name__}: {error}"


def source_problems(
    where: str,
    data: DataConfig,
    backbones: Mapping[str, BackboneConfig],
    rows: Sequence[RowConfig],
    weights_dir: Path | str | None,
) -> list[Problem]:
    """What is missing or does not fit, for the roles and domains that rows use."""
    problems = []
    if weights_dir is not None and not Path(weights_dir).is_dir():
        problems.append(
            Problem(
                where=f"--weights {weights_dir}",
                message="there is no such folder; it must hold folders in timm's layout",
            )
        )
    unusable = data_problems(where, data)
    problems += unusable or _of_domains(where, data, backbones, rows)
    users: dict[str, list[str]] = {role: [] for row in rows for role in row.roles.values()}
    for row in rows:
        for role in dict.fromkeys(row.roles.values()):
            users[role].append(row.name)
    for role, names in users.items():
        if role in backbones and (message := problem_of(backbones[role], weights_dir)):
            problems.append(
                Problem(where=where, rows=tuple(names), key=f"backbones.{role}", message=message)
            )
    return problems


def _of_domains(
    where: str,
    data: DataConfig,
    backbones: Mapping[str, BackboneConfig],
    rows: Sequence[RowConfig],
) -> Iterator[Problem]:
    """Rows that train on domains that the data have not, or start from rows that do not fit."""
    if not any(row.spec.domains or row.sources for row in rows):
        return
    try:
        there = data.domains or make_source(data).domains()
    except OSError:
        raise
    except Exception as error:  # a plug-in's own code
        yield Problem(where=where, key="data.source", message=_failed(data, error))
        return
    yield from _unknown_domains(where, rows, there)
    yield from start_problems(where, rows, backbones, there)


def _unknown_domains(
    where: str, rows: Sequence[RowConfig], there: Sequence[str]
) -> Iterator[Problem]:
    limited = [row for row in rows if row.spec.domains]
    for names, users in _grouped(limited, lambda row: row.spec.domains or ()).items():
        for name in names:
            if name not in there:
                message = f"got {format_value(name)}, which is an {unknown(name, there, 'domain')}"
                yield Problem(where=where, rows=users, key="domains", message=message)


def _grouped(
    rows: Iterable[RowConfig], key: Callable[[RowConfig], _Key]
) -> dict[_Key, tuple[str, ...]]:
    """The names of rows by what they have in common."""
    found: dict[_Key, tuple[str, ...]] = {}
    for row in rows:
        found[key(row)] = (*found.get(key(row), ()), row.name)
    return found

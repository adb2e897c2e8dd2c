"""How two runs differ: configuration, data, versions and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from udonx.records.runs import RunInfo


@attrs.frozen(kw_only=True)
class Change:
    """A value that two runs do not share.

    Attributes:
        key: its dotted key.
        first: the value of the first run; None where it has none.
        second: the value of the second run; None likewise.
    """

    key: str
    first: Any
    second: Any


@attrs.frozen(kw_only=True)
class RunDiff:
    """How two runs differ.

    Attributes:
        first: a run.
        second: another.
        config: keys of the resolved rows, their backbones and plug-ins.
        data: where the images come from, and the fingerprints of the domains' splits.
        versions: of packages and start weights, the machine, the device, the commit.
        metrics: all figures that both have or one lacks, differing or not, by branch, index, metric
            and domain, as fractions.
    """

    first: RunInfo
    second: RunInfo
    config: tuple[Change, ...]
    data: tuple[Change, ...]
    versions: tuple[Change, ...]
    metrics: tuple[Change, ...]

    def to_plain(self) -> dict[str, Any]:
        """The differences as JSON has them; the runs by id and title."""
        runs = {
            name: {"id": run.id, "title": run.title}
            for name, run in (("first", self.first), ("second", self.second))
        }
        sections = ("config", "data", "versions", "metrics")
        return runs | {
            name: [attrs.asdict(change) for change in getattr(self, name)] for name in sections
        }


def diff_runs(first: RunInfo, second: RunInfo) -> RunDiff:
    """How two runs differ; what only Sacred knows is left out of a run without a Sacred run."""
    return RunDiff(
        first=first,
        second=second,
        config=_changes(_config(first), _config(second)),
        data=_changes(_data(first), _data(second)),
        versions=_changes(_versions(first), _versions(second)),
        metrics=_both(_metrics(first), _metrics(second)),
    )


def _config(run: RunInfo) -> dict[str, Any]:
    config = run.sacred.config if run.sacred else {}
    about = {"experiment": run.experiment, "setting": run.setting, "row": run.row, "seed": run.seed}
    resolved = {"backbones": config.get("backbone"), "plugins": config.get("plugins")}
    return about | flatten(config.get("resolved") or {}) | flatten(resolved)


def _data(run: RunInfo) -> dict[str, Any]:
    config = run.sacred.config if run.sacred else {}
    return flatten({"data": config.get("data"), "manifest": config.get("manifest")})


def _versions(run: RunInfo) -> dict[str, Any]:
    config, host = (run.sacred.config, run.sacred.host) if run.sacred else ({}, {})
    machine = {name: host.get(name) for name in ("hostname", "cpu", "python_version")}
    names = ("versions", "start_weights", "git", "device")
    return flatten({**{name: config.get(name) for name in names}, "machine": machine})


def _metrics(run: RunInfo) -> dict[str, float]:
    """Every figure of a run: means first, then domain by domain."""
    found: dict[str, float] = {}
    for branch, stored in run.results.items():
        for index in ("merged", "own"):
            figures = stored.get(index) or {}
            for name in metric_names(figures):
                found[f"{branch}.{index}.{name}"] = figures[name]
            for domain, values in (figures.get("per_domain") or {}).items():
                for name in metric_names(values):
                    found[f"{branch}.{index}.{name}.{domain}"] = values[name]
    return found


def metric_names(figures: Mapping[str, Any]) -> list[str]:
    """The metrics among the keys of an index or of a domain in metrics.json; R@1 first.

    >>> metric_names({"mmp5": 0.5, "per_domain": {}, "r1": 0.5, "without_positives": 0})
    ['r1', 'mmp5']
    """
    others = {"per_domain", "without_positives", "queries"}
    return sorted((name for name in figures if name not in others), key=lambda name: name != "r1")


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A table of tables as one table with dotted keys, without what is None.

    >>> flatten({"a": {"b": 1, "c": None}, "d": [2]})
    {'a.b': 1, 'd': [2]}
    """
    flat: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{key}.")
        elif value is not None:
            flat[key] = value
    return flat


def _changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(change for change in _both(first, second) if change.first != change.second)


def _both(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(
        Change(key=key, first=first.get(key), second=second.get(key))
        for key in dict.fromkeys((*first, *second))
    )

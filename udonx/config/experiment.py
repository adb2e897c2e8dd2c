"""From experiment files to Experiments: the setting, the rows, the overrides.

Every problem found is reported together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from registry.metrics import DEFAULTS
from udonx.common.options import evolve_each
from udonx.common.words import (
    did_you_mean,
    display_path,
    dotted_key,
    format_value,
    unknown,
)
from udonx.config.backbones import BackboneConfig, read_backbones
from udonx.config.data import DataConfig, read_data
from udonx.config.descriptions import registry_of
from udonx.config.document import Document, read_document
from udonx.config.keys import FileOptions, ResultOptions
from udonx.config.overrides import read_overrides
from udonx.config.plugins import load_plugins
from udonx.config.problems import ConfigError, Problem
from udonx.config.resolve import resolve_rows, row_layers
from udonx.config.rows import RowConfig
from udonx.config.selection import WHOLE, Selection
from udonx.config.settings import (
    OWN_SETTING,
    RawSetting,
    check_setting,
    read_setting,
    read_settings,
)
from udonx.config.starts import needed_by
from udonx.config.toml_files import is_there, shipped
from udonx.config.tune_table import read_tuning
from udonx.config.tuning import Tuning
from udonx.config.typed import table_options, validate


@attrs.frozen(kw_only=True)
class Experiment:
    """An experiment file, resolved.

    Attributes:
        path: the file.
        title: the table's title.
        setting: the setting's name.
        data: where the images come from.
        backbones: those of the setting, by role.
        rows: all rows of the file.
        seeds: with which every row is trained.
        plugins: what was imported for it.
        observers: further observers of the run record.
        writers: for which programs curves are written.
        metrics: the columns of the table.
        overrides: the `--set` texts.
        selected: the rows of `--row`; empty for all.
        only_seeds: whether `--seeds` replaced the file's, so that no other seed is shown.
        weights_dir: the folder of `--weights`.
        tuning: `[tune]`; None where the file has none.
    """

    path: Path
    title: str
    setting: str
    data: DataConfig
    backbones: dict[str, BackboneConfig]
    rows: tuple[RowConfig, ...]
    seeds: tuple[int, ...]
    plugins: tuple[str, ...]
    observers: tuple[str, ...]
    metrics: tuple[str, ...] = DEFAULTS
    overrides: tuple[str, ...] = ()
    selected: tuple[str, ...] = ()
    only_seeds: bool = False
    weights_dir: Path | None = None
    tuning: Tuning | None = attrs.field(default=None, repr=False)
    writers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def setting_place(self) -> str:
        """The setting, as problems name it."""
        return setting_place(self.setting, self.path)

    def wanted_rows(self) -> list[RowConfig]:
        """The rows that this call asks for: those of `--row`, else all; references last."""
        rows = [row for row in self.rows if not self.selected or row.name in self.selected]
        return sorted(rows, key=lambda row: row.reference)

    def needed_rows(self) -> list[RowConfig]:
        """The wanted rows, and all that these start from."""
        rows = needed_by(self.rows, self.selected)
        return sorted(rows, key=lambda row: row.reference)

    def row(self, name: str) -> RowConfig:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    def skipped(self, domains: int | None = None) -> list[str]:
        """A sentence for each reason why this setting cannot have a wanted row.

        Labels count `domains`.
        """
        rows: dict[str, list[str]] = {}
        for row in self.wanted_rows():
            if row.skipped:
                rows.setdefault(row.skipped, []).append(row.label_for(domains))
        return [f"{reason}: {'; '.join(labels)}" for reason, labels in rows.items()]


LookUp = Callable[
    [
        str,
        DataConfig,
        Mapping[str, BackboneConfig],
        Sequence[RowConfig],
        Path | str | None,
    ],
    Iterable[Problem],
]
"""What is wrong with the data and start weights of a place: (where, data, backbones by role, rows
that are wanted, folder of weights)."""


def setting_place(setting: str, path: Path) -> str:
    """A setting, as problems name it: by its name, or by the file that holds it."""
    return f"{display_path(path)}, [setting]" if setting == OWN_SETTING else f"setting '{setting}'"


def load_experiment(
    path: str | Path,
    selection: Selection = WHOLE,
    *,
    sources: LookUp | None = None,
    **changes: Any,
) -> Experiment:
    """Read and resolve one experiment file.

    Layers of keys lie over each other, and the last that has a key counts. They are: defaults of
    the components, the setting's `[KIND.NAME]`, the scheme's own row, the setting's keys of a row.
    Over these lie the file's [defaults], what the scheme fixes, the row, and `--set`. The setting's
    parents, and the file's, come before it.

    Args:
        path: the file, or the name of a shipped one (`table3_ablation`).
        selection: which rows and seeds of it, on which setting, with what changed.
        sources: looks whether data and start weights are there
            (udonx.inputs.sources.source_problems).
        changes: fields of `selection`, by name.

    Raises:
        ConfigError: every problem of the file: unknown keys, wrong types, unknown components,
            impossible pairs.

    Example:
        >>> load_experiment("experiments/table3_ablation.toml").setting
        'demo'
    """
    (selection,) = evolve_each(changes, selection)
    path, setting = shipped(path), selection.setting
    where = display_path(path)
    problems: list[Problem] = []
    document = read_document(path, problems)
    wanted_seeds = _seeds(document, selection.seeds, problems)
    results = _result_options(document, problems)
    try:
        imported = _load_plugins(document, selection.plugins, selection.allow_plugins)
        raw = read_setting(setting, path) if setting else _own_setting(document, path)
    except ConfigError as error:  # without plug-ins and setting nothing further can be judged
        raise ConfigError([*problems, *error.problems]) from None
    problems += unknown_metrics(document.plain["metrics"], where)
    for layer in raw.layers:
        check_setting(layer, problems)
    sets = read_overrides(selection.overrides, document.named(), problems)
    layers = [*raw.layers, *sets.setting]
    data_options = read_data(layers, selection.data, problems)
    backbones = read_backbones(layers, problems)
    named = document.named()
    layers_of_rows = row_layers(document, layers, sets, problems)
    resolved = resolve_rows(path, document, layers_of_rows, backbones, problems)
    tuning = read_tuning(document, resolved, layers_of_rows, problems)
    problems += _unknown_rows(document, selection.rows, where)
    selected = tuple(each for name in selection.rows for each in named.get(name, ()))
    if sources is not None:
        place = setting_place(raw.name, path)
        needed = needed_by(resolved, selected)
        problems += sources(place, data_options, backbones, needed, selection.weights)
    if problems:
        raise ConfigError(problems)
    return Experiment(
        path=path,
        title=document.plain["title"] or path.stem,
        setting=raw.name,
        data=data_options,
        backbones=backbones,
        rows=tuple(resolved),
        seeds=wanted_seeds,
        plugins=imported,
        observers=tuple(results.get("observers", ())),
        writers=tuple(results.get("writers", ())),
        metrics=tuple(dict.fromkeys(document.plain["metrics"])),
        overrides=selection.overrides,
        selected=selected,
        only_seeds=selection.seeds is not None,
        weights_dir=selection.weights,
        tuning=tuning,
    )


def _seeds(
    document: Document, given: Iterable[int] | None, problems: list[Problem]
) -> tuple[int, ...]:
    """The seeds of `--seeds`, else the file's, each once."""
    seeds = document.plain["seeds"]
    if given is not None:
        checked, found = validate(table_options(FileOptions), {"seeds": list(given)})
        problems += [Problem(where="--seeds", message=message) for _, message in found]
        seeds = checked.get("seeds", seeds)
    return tuple(dict.fromkeys(seeds))


def _result_options(document: Document, problems: list[Problem]) -> dict[str, Any]:
    """The keys of [results], each as the last file has it."""
    results: dict[str, Any] = {}
    for place, given in document.results:
        options, found = validate(table_options(ResultOptions), given)
        problems += [
            Problem(where=place, key=dotted_key("results", key), message=message)
            for key, message in found
        ]
        results |= options
    return results


def _load_plugins(document: Document, more: Iterable[str], allow: bool) -> tuple[str, ...]:
    """Import the plug-ins of the file and its parents, then those of `--plugin`."""
    listed: list[str] = []
    for file, names in document.plugins:
        listed += load_plugins(names, file.parent, where=display_path(file), allow=allow)
    listed += load_plugins(more, None, where="--plugin", allow=allow)
    return tuple(dict.fromkeys(listed))


def _own_setting(document: Document, path: Path) -> RawSetting:
    """The setting that a file names or holds."""
    return read_settings(document.settings or [(path, "demo")])


def _unknown_rows(document: Document, selected: Iterable[str], where: str) -> Iterator[Problem]:
    names = document.named()
    for name in selected:
        if name not in names:
            hint = did_you_mean(name, names) or ";"
            message = f"{where} has no such row{hint} its rows are {', '.join(names)}"
            yield Problem(where=f"--row {name}", message=message)


def unknown_metrics(wanted: Iterable[str], where: str) -> Iterator[Problem]:
    """A problem for each metric that is not registered, at the key `metrics` of `where`."""
    names = registry_of("metrics").names()
    for name in wanted:
        if name not in names:
            message = f"got {format_value(name)}, which is an {unknown(name, names, 'metric')}"
            yield Problem(where=where, key="metrics", message=message)


def load_experiments(
    files: Iterable[str | Path],
    selection: Selection = WHOLE,
    *,
    sources: LookUp | None = None,
    **changes: Any,
) -> list[Experiment]:
    """`load_experiment` for several files, a folder standing for the experiment files in it.

    Raises:
        ConfigError: the problems of all files together.
    """
    (selection,) = evolve_each(changes, selection)
    experiments, problems = [], []
    for name in files:
        place = shipped(name)
        paths = sorted(place.glob("*.toml")) if is_there(place) and place.is_dir() else [place]
        if not paths:
            problems.append(
                Problem(where=str(name), message="this folder holds no experiment file (*.toml)")
            )
        for path in paths:
            try:
                experiments.append(load_experiment(path, selection, sources=sources))
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(problems)
    return experiments

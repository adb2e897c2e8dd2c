"""From experiment files to Experiments: the setting, the rows, the overrides; every problem found
is reported together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from registry.backbones.timm_arguments import REFUSED
from registry.registry import RegistryError, nearest
from udonx.common.words import (
    did_you_mean,
    display_path,
    dotted_key,
    format_value,
    printable,
    unknown,
)
from udonx.config import descriptions as components
from udonx.config.backbones import BackboneConfig
from udonx.config.document import Document, read_document
from udonx.config.keys import (
    COMMON,
    KIND_TABLES,
    ROW_KEYS,
    SETTING_KEYS,
    DataOptions,
    FileOptions,
    ResultOptions,
    StartOptions,
)
from udonx.config.labels import fill
from udonx.config.layers import Layers, slot_key
from udonx.config.merge import Layer, Merged
from udonx.config.plugins import load_plugins
from udonx.config.problems import ConfigError, Problem
from udonx.config.rows import RowConfig, resolve_row
from udonx.config.settings import (
    OWN_SETTING,
    RawSetting,
    is_there,
    known_roles,
    nested,
    parse_override,
    read_setting,
    read_settings,
    shipped,
)
from udonx.config.slots import check_kind_tables
from udonx.config.typed import table_options, validate


@attrs.frozen(kw_only=True)
class Experiment:
    """An experiment file, resolved.

    Attributes:
        overrides: the `--set` texts.
        selected: the rows of `--row`; empty for all.
        only_seeds: whether `--seeds` replaced the file's, so that no other seed is shown.
        weights: the folder of `--weights`.
    """

    path: Path
    title: str
    setting: str
    data: DataOptions
    backbones: dict[str, BackboneConfig]
    rows: tuple[RowConfig, ...]
    seeds: tuple[int, ...]
    plugins: tuple[str, ...]
    observers: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    selected: tuple[str, ...] = ()
    only_seeds: bool = False
    weights: Path | None = None

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

    def skipped(self, domains: int | None = None) -> list[str]:
        """What is said of the wanted rows that this setting cannot have, one sentence for each
        reason; labels count `domains`.
        """
        rows: dict[str, list[str]] = {}
        for row in self.wanted_rows():
            if row.skipped:
                rows.setdefault(row.skipped, []).append(printable(fill(row.label, domains)))
        return [f"{reason}: {'; '.join(labels)}" for reason, labels in rows.items()]


LookUp = Callable[
    [
        str,
        DataOptions,
        Mapping[str, BackboneConfig],
        Mapping[str, Iterable[str]],
        Path | str | None,
    ],
    Iterable[Problem],
]
"""What is wrong with the data and start weights of a place: (where, data, backbones by role, rows
by role, folder of weights)."""


def setting_place(setting: str, path: Path) -> str:
    """A setting, as problems name it: by its name, or by the file that holds it."""
    return f"{display_path(path)}, [setting]" if setting == OWN_SETTING else f"setting '{setting}'"


def load_experiment(
    path: str | Path,
    *,
    setting: str | None = None,
    data: str | Path | None = None,
    weights: str | Path | None = None,
    overrides: Iterable[str] = (),
    rows: Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    plugins: Iterable[str] = (),
    allow_plugins: bool = True,
    sources: LookUp | None = None,
) -> Experiment:
    """Read and resolve one experiment file.

    What a later one says counts: defaults of the components, the setting's `[KIND.NAME]`, the
    scheme's own row, the setting's keys of a row, the file's [defaults], what the scheme fixes, the
    row, `--set`. The setting's parents, and the file's, come before it.

    Args: `path` may also be the name of a shipped file (`table3_ablation`); `setting` replaces the
    file's; `data` is the folder of a `uned` setting; `overrides` are `key.path=value` texts; `rows`
    select rows by name; `seeds` replace the file's; `plugins` are imported beside the file's own;
    `sources` looks whether data and start weights are there, weights
    first under `weights` (udonx.inputs.sources.source_problems).

    Raises ConfigError with every problem of the file: unknown keys, wrong types, unknown
    components, impossible pairs.

    >>> load_experiment("experiments/table3_ablation.toml").setting
    'demo'
    """
    path = shipped(path)
    where = display_path(path)
    problems: list[Problem] = []
    document = read_document(path, problems)
    plain = document.plain
    if seeds is not None:
        given, found = validate(table_options(FileOptions), {"seeds": list(seeds)})
        problems += [Problem(where="--seeds", message=message) for _, message in found]
        plain["seeds"] = given.get("seeds", plain["seeds"])
    results: dict[str, Any] = {}
    for place, given in document.results:
        options, found = validate(table_options(ResultOptions), given)
        problems += [
            Problem(where=place, key=dotted_key("results", key), message=message)
            for key, message in found
        ]
        results |= options
    listed: list[str] = []
    try:
        for file, names in document.plugins:
            listed += load_plugins(
                names, file.parent, where=display_path(file), allow=allow_plugins
            )
        listed += load_plugins(plugins, None, where="--plugin", allow=allow_plugins)
        raw = (
            read_setting(setting, path)
            if setting
            else read_settings(document.settings or [(path, "demo")])
        )
    except ConfigError as error:  # without plug-ins and setting nothing further can be judged
        raise ConfigError([*problems, *error.problems]) from None
    overrides = tuple(overrides)
    resolver = _FileResolver(path, document, raw, problems)
    resolver.override(overrides)
    data_options = resolver.data(data)
    backbones = resolver.backbones()
    resolved = resolver.rows(backbones)
    selected = tuple(rows)
    for name in selected:
        if name not in resolver.names:
            message = (
                f"{where} has no such row{did_you_mean(name, resolver.names) or ';'} its rows are"
                f" {', '.join(resolver.names)}"
            )
            problems.append(Problem(where=f"--row {name}", message=message))
    if sources is not None:
        roles: dict[str, list[str]] = {}
        for row in resolved:
            if not selected or row.name in selected:
                roles.setdefault(row.backbone, []).append(row.name)
        problems += sources(setting_place(raw.name, path), data_options, backbones, roles, weights)
    if problems:
        raise ConfigError(problems)
    return Experiment(
        path=path,
        title=plain["title"] or path.stem,
        setting=raw.name,
        data=data_options,
        backbones=backbones,
        rows=tuple(resolved),
        seeds=tuple(dict.fromkeys(plain["seeds"])),
        plugins=tuple(dict.fromkeys(listed)),
        observers=tuple(results.get("observers", ())),
        overrides=overrides,
        selected=selected,
        only_seeds=seeds is not None,
        weights=None if weights is None else Path(weights),
    )


def load_experiments(files: Iterable[str | Path], **options: Any) -> list[Experiment]:
    """`load_experiment` for several files, a folder standing for the experiment files in it; the
    problems of all files together.
    """
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
                experiments.append(load_experiment(path, **options))
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(problems)
    return experiments


class _FileResolver:
    """Turns one document and its setting into typed parts, collecting problems."""

    def __init__(
        self, path: Path, document: Document, raw: RawSetting, problems: list[Problem]
    ) -> None:
        self.problems = problems
        self.layers = raw.layers
        for layer in raw.layers:
            self._known_keys(layer, SETTING_KEYS, "key of a setting")
            self._tables(layer)
        self.path = path
        self.names = list(document.rows)
        self.defaults, self.row_layers = document.defaults, document.rows
        self.roles, self.made = document.plain["roles"], document.roles
        self.set_all: list[Layer] = []
        self.set_row: dict[str, list[Layer]] = {}

    def _known_keys(self, layer: Layer, allowed: frozenset[str], what: str) -> None:
        for key in [key for key in layer.data if key not in allowed]:
            message = (
                f"got {format_value(layer.data[key])}, but this is an {unknown(key, allowed, what)}"
            )
            self.problems.append(
                Problem(where=layer.where, key=dotted_key(layer.prefix, key), message=message)
            )

    def _tables(self, layer: Layer) -> None:
        for key in ("data", "backbones", *KIND_TABLES):
            if not isinstance(layer.data.get(key, {}), dict):
                message = f"got {format_value(layer.data[key])}, allowed is a table"
                self.problems.append(
                    Problem(where=layer.where, key=dotted_key(layer.prefix, key), message=message)
                )

    def override(self, texts: tuple[str, ...]) -> None:
        """Sort `--set` into layers: of the setting, of one row, of all rows."""
        for text in texts:
            where = f"--set {text}"
            path, value = parse_override(text)
            if path[0] == "setting" and len(path) > 1:
                layer = Layer(where=where, prefix="", data=nested(path[1:], value))
                self._known_keys(layer, SETTING_KEYS, "key of a setting")
                self._tables(layer)
                self.layers = [*self.layers, layer]
            elif path[0] == "rows" and len(path) > 2:
                if path[1] not in self.names:
                    message = (
                        f"there is no row '{path[1]}'{did_you_mean(path[1], self.names) or ';'} the"
                        f" rows are {', '.join(self.names)}"
                    )
                    self.problems.append(Problem(where=where, message=message))
                    continue
                self.set_row.setdefault(path[1], []).append(
                    Layer(where=where, prefix="", data=nested(path[2:], value))
                )
            else:
                self.set_all.append(Layer(where=where, prefix="", data=nested(path, value)))

    def data(self, folder: str | Path | None) -> DataOptions:
        """The data of the setting, with `--data` over it."""
        merged = Merged()
        for layer in self.layers:
            if isinstance(layer.data.get("data"), dict):
                merged.add(attrs.evolve(layer, data={"data": layer.data["data"]}))
        plain, found = validate(table_options(DataOptions), merged.data.get("data", {}))
        for name, message in found:
            source = merged.source_of(f"data.{name}")
            self.problems.append(
                Problem(
                    where=source.where, key=dotted_key(source.prefix, "data", name), message=message
                )
            )
        if not plain:
            return DataOptions()
        if folder is not None and plain["source"] != "uned":
            message = (
                f"got {folder}, but the data of this setting is '{plain['source']}', which is"
                " generated; use --setting uned_mini, or another whose data.source is 'uned'"
            )
            self.problems.append(Problem(where="--data", message=message))
        elif folder is not None:
            plain["root"] = str(folder)
        return DataOptions(**plain)

    def backbones(self) -> dict[str, BackboneConfig]:
        """The roles of the setting."""
        merged = Merged()
        for layer in self.layers:
            if isinstance(layer.data.get("backbones"), dict):
                merged.add(attrs.evolve(layer, data={"backbones": layer.data["backbones"]}))
        own = table_options(StartOptions)
        own_names = {option.name for option in own}
        roles = {}
        for role, value in merged.data.get("backbones", {}).items():
            key = f"backbones.{role}"
            layer = merged.source_of(key)
            if not isinstance(value, dict):
                self.problems.append(
                    Problem(
                        where=layer.where,
                        key=key,
                        message=f"got {format_value(value)}, allowed is a table",
                    )
                )
                continue
            start, found = validate(
                own, {name: item for name, item in value.items() if name in own_names}
            )
            use = value.get("use", "timm")
            names = components.registry_of("backbones").names()
            if use not in names:
                message = (
                    f"got {format_value(use)}, which is an"
                    f" {unknown(use, names, 'component of backbones')}"
                )
                self.problems.append(Problem(where=layer.where, key=f"{key}.use", message=message))
                continue
            component = components.describe("backbones", use)
            options, more = validate(
                component.options,
                {name: item for name, item in value.items() if name not in own_names},
            )
            for name, message in [*found, *more]:
                source = merged.source_of(f"{key}.{name}") or layer
                self.problems.append(
                    Problem(where=source.where, key=f"{key}.{name}", message=message)
                )
            if found or more:
                continue
            options = {name: item for name, item in options.items() if item is not None}
            if use == "timm" and options["model"] not in (models := components.timm_models()):
                message = (
                    f'got "{options["model"]}", which is an'
                    f" {_unknown_model(options['model'], models)}"
                )
                self.problems.append(
                    Problem(where=layer.where, key=f"{key}.model", message=message)
                )
                continue
            if use == "timm" and (refused := options.get("kwargs", {}).keys() & REFUSED.keys()):
                for name in sorted(refused):
                    message = (
                        f"got {format_value(options['kwargs'][name])}, but this may not be set:"
                        f" {REFUSED[name]}"
                    )
                    self.problems.append(
                        Problem(where=layer.where, key=f"{key}.kwargs.{name}", message=message)
                    )
                continue
            if (
                use == "timm"
                and start["hub"]
                and not start["random"]
                and start["hub"] not in models[options["model"]]
            ):
                tags = models[options["model"]]
                what = unknown(start["hub"], tags, f"tag of timm's weights of {options['model']}")
                message = f"got {format_value(start['hub'])}, which is an {what}"
                self.problems.append(Problem(where=layer.where, key=f"{key}.hub", message=message))
                continue
            start.pop("use")
            start |= {name: start[name] or None for name in ("local", "hub")}
            try:
                source, files = (
                    components.source_hash("backbones", use),
                    components.option_files(component, options),
                )
            except RegistryError as error:
                self.problems.append(Problem(where=layer.where, key=key, message=str(error)))
                continue
            identity = {"version": component.version, "source": source, "files": files}
            roles[role] = BackboneConfig(role=role, use=use, options=options, **identity, **start)
        return roles

    def rows(self, backbones: dict[str, BackboneConfig]) -> list[RowConfig]:
        """All rows, resolved."""
        layers = Layers(
            setting=[
                attrs.evolve(
                    layer,
                    data={
                        key: value
                        for key, value in layer.data.items()
                        if key in ROW_KEYS and key not in KIND_TABLES
                    },
                )
                for layer in self.layers
            ],
            defaults=self.defaults,
            overrides=self.set_all,
            rows=self.row_layers,
            row_overrides=self.set_row,
            defaults_of_kind=check_kind_tables(self.layers, self.problems),
        )
        used: set[str] = set()
        resolved = []
        complete = True
        for name in self.names:
            row, its_used = resolve_row(name, layers, self.problems)
            used |= its_used
            if row is None:
                complete = False
                continue
            self._known_role(row, backbones)
            resolved.append(attrs.evolve(row, skipped=self._skipped(row, backbones)))
        for layer in (*self.defaults, *self.set_all):
            for key, value in layer.data.items():
                if key not in ROW_KEYS and key in SETTING_KEYS and layer.prefix == "":
                    self._of_no_row(
                        layer,
                        key,
                        value,
                        f"but this is a key of the setting: write setting.{key}...",
                    )
                elif key not in ROW_KEYS:
                    self._of_no_row(layer, key, value, f"but this is an {unknown(key, ROW_KEYS)}")
                elif complete and key not in COMMON and slot_key(layer, key) not in used:
                    self._of_no_row(layer, key, value, "but no row here has a slot for it")
                elif complete and key == "losses" and isinstance(value, dict):
                    for name in [
                        name for name in value if slot_key(layer, f"losses.{name}") not in used
                    ]:
                        there = {
                            loss.name
                            for row in resolved
                            if row.spec.recipe
                            for loss in row.spec.recipe.losses
                        }
                        but = f"but this is an {unknown(name, there, 'loss of these rows')}"
                        self._of_no_row(layer, f"losses.{name}", value[name], but)
        return resolved

    @cached_property
    def _known_roles(self) -> set[str]:
        """Read only where a row asks for a role that this setting lacks, and then once: it takes
        every setting's file.
        """
        return known_roles(self.path)

    def _known_role(self, row: RowConfig, backbones: dict[str, BackboneConfig]) -> None:
        """A role that this setting lacks leaves a row out; one that no setting has is a mistake."""
        if row.backbone in backbones or row.backbone in self._known_roles:
            return
        key = "roles" if row.backbone in self.roles else f"rows.{row.name}.backbone"
        message = (
            f"got {format_value(row.backbone)}, which is an"
            f" {unknown(row.backbone, self._known_roles | set(backbones), 'backbone role')}"
        )
        self.problems.append(Problem(where=display_path(self.path), key=key, message=message))

    def _skipped(self, row: RowConfig, backbones: dict[str, BackboneConfig]) -> str | None:
        """Why this setting cannot have a row; None where it can."""
        if row.backbone not in backbones:
            return f"not in this setting, which has no backbone '{row.backbone}'"
        for role in self.roles if row.name in self.made else ():
            if role == row.backbone:
                break
            if (
                role in backbones
                and attrs.evolve(backbones[role], role=row.backbone) == backbones[row.backbone]
            ):
                return (
                    f"already there, since the backbone '{row.backbone}' of this setting is its"
                    f" '{role}' too"
                )
        return None

    def _of_no_row(self, layer: Layer, key: str, value: Any, but: str) -> None:
        self.problems.append(
            Problem(
                where=layer.where,
                key=dotted_key(layer.prefix, key),
                message=f"got {format_value(value)}, {but}",
            )
        )


def _unknown_model(name: str, models: Iterable[str]) -> str:
    close = nearest(name, models, 3)
    return "unknown timm model; " + (
        f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
    )

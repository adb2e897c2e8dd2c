"""One row: its layers merged, its keys typed, impossible pairs found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from registry import schemes
from registry.contracts import (
    BackboneSpec,
    ComponentSpec,
    HeadSpec,
    LossSpec,
    Recipe,
    Row,
    RowInit,
    RowSpec,
    RowTeacher,
    Scheme,
    StageSpec,
)
from udonx.common.words import printable
from udonx.config.keys import COMMON, PLAIN_KEYS, ROW_KEYS, SLOT_KEYS, TABLES, RowOptions
from udonx.config.labels import fill, label_of_name, label_problem
from udonx.config.layers import Layers, RowLayers
from udonx.config.pairs import impossible_pairs
from udonx.config.problems import Problem
from udonx.config.reported import Reported, read_reported
from udonx.config.slots import read_row, read_scheme
from udonx.config.teachers import teacher_to_plain

_SCHEME = ("slots", "default_row", "fixed_row", "teacher", "branches", "plan")


@attrs.frozen(kw_only=True)
class RowConfig:
    """A row, resolved but for what only the data and the weights can tell.

    Attributes:
        name: the row's name in the file.
        label: its name in the table; placeholders are filled where a plan is made.
        reference: whether it is shown for orientation only.
        backbone: the role of its backbone in the setting.
        own_index: whether the figures of the own-domain index are shown.
        scheme: who teaches whom.
        spec: its typed keys.
        data: its keys as `udonx show` prints them.
        skipped: why this setting cannot have the row; None where it can.
        sources: the rows that it starts from, by name.
        taught_by: the rows that teach it by name, by the name of the teacher.
        reported: figures of it from elsewhere; None where the file gives none.
    """

    name: str
    label: str
    reference: bool
    backbone: str
    own_index: bool
    scheme: Scheme
    spec: RowSpec
    data: dict[str, Any]
    skipped: str | None = None
    sources: tuple[str, ...] = ()
    taught_by: Mapping[str, str] = attrs.field(factory=dict)
    reported: Reported | None = None

    def label_for(self, domains: int | None) -> str:
        """The label on data of so many domains; it counts those that the row trains on."""
        trained = len(self.spec.domains) if self.spec.domains else domains
        return printable(fill(self.label, trained))

    def trains_on(self, domain: str) -> bool:
        """Whether the row's `domains` has a domain of the data."""
        return self.spec.domains is None or domain in self.spec.domains

    @property
    def earlier(self) -> tuple[str, ...]:
        """The rows that it starts from or learns from, by name."""
        return (*self.sources, *self.taught_by.values())

    @property
    def teachers(self) -> tuple[RowTeacher, ...]:
        """The teachers that it names."""
        return self.spec.recipe.teachers if self.spec.recipe else ()

    @property
    def roles(self) -> dict[str, str]:
        """The roles of its own backbone and of those that teach it as they are, by their keys."""
        taught_by = {
            f"teachers.{each.name}.backbone": each.backbone
            for each in self.teachers
            if each.backbone
        }
        return {"backbone": self.backbone, **taught_by}

    def at(
        self,
        backbone: BackboneSpec,
        seed: int,
        sources: tuple[StageSpec, ...] = (),
        taught_by: tuple[StageSpec, ...] = (),
    ) -> Row:
        """The row for one seed and one backbone.

        Args:
            backbone: the backbone of its role.
            seed: what everything random follows from.
            sources: the student's stages of the rows in `sources`.
            taught_by: the stages of its named teachers, in their order.
        """
        keys = attrs.asdict(self.spec, recurse=False)
        return Row(
            name=self.name,
            backbone=backbone,
            seed=seed,
            sources=sources,
            taught_by=taught_by,
            **keys,
        )


def resolve_row(
    name: str, layers: Layers, problems: list[Problem]
) -> tuple[RowConfig | None, set[str]]:
    """One row of a file, from its layers.

    Args:
        name: the row's.
        layers: those of all rows.
        problems: what is wrong with the row is added to them, all of it.

    Returns:
        The row, None where it has problems; and which keys of the layers of all rows it has a slot
        for (see `RowLayers.used`).
    """
    row = RowLayers(name, layers, problems)
    scheme_spec = read_scheme(row)
    if scheme_spec is None:
        row.refuse_unknown()
        return None, row.used
    scheme = _build_scheme(row, scheme_spec)
    if scheme is None:
        return None, row.used
    row.merge(scheme_spec.use, scheme)
    options, spec = read_row(row, scheme_spec, scheme)
    if options.label and (message := label_problem(options.label)):
        row.problem("label", message)
    reported = read_reported(row)
    for key, message in impossible_pairs(spec, scheme, row.merged, row.broken):
        row.problem(key, message)
    if row.broken:
        return None, row.used
    config = RowConfig(
        name=name,
        label=options.label or label_of_name(name),
        reference=options.reference,
        backbone=options.backbone,
        own_index=options.own_index,
        scheme=scheme,
        spec=spec,
        data=_to_plain(row, scheme, options, spec),
        reported=reported,
    )
    return config, row.used


def _build_scheme(row: RowLayers, spec: ComponentSpec) -> Scheme | None:
    """The scheme of a spec, None where it cannot be built or is none."""
    try:
        scheme = schemes.get(spec.use)(**spec.options)
    except Exception as error:  # a plug-in's own code
        row.problem(
            "scheme", f"'{spec.use}' failed while it was built: {type(error).__name__}: {error}"
        )
        return None
    if lacks := [name for name in _SCHEME if not hasattr(scheme, name)]:
        row.problem(
            "scheme",
            f"'{spec.use}' lacks {', '.join(lacks)}; see Scheme in registry/contracts/protocols.py",
        )
        return None
    if not isinstance(scheme.slots, set | frozenset) or not scheme.slots <= ROW_KEYS:
        row.problem(
            "scheme",
            f"'{spec.use}' has the slots {scheme.slots!r}, allowed is a set of"
            f" {', '.join(sorted(ROW_KEYS))}",
        )
        return None
    return scheme


# ------------------------------------------------------------------------------ as plain data again


def _to_plain(row: RowLayers, scheme: Scheme, options: RowOptions, spec: RowSpec) -> dict[str, Any]:
    """The row in full, as plain data that resolves to itself."""
    allowed = COMMON | scheme.slots
    values = {
        **attrs.asdict(spec, recurse=False),
        **attrs.asdict(spec.recipe or Recipe(), recurse=False),
        "backbone": options.backbone,
    }
    view = {"label": options.label, "reference": options.reference, "own_index": options.own_index}
    data: dict[str, Any] = {key: value for key, value in view.items() if value}
    data["scheme"] = {"use": spec.scheme.use, **spec.scheme.options}
    plain = [option.name for option in PLAIN_KEYS if option.name not in view]
    for key in (*plain, *TABLES, *(key for key in SLOT_KEYS if key != "scheme")):
        if key in allowed and values[key] is not None:
            data[key] = _plain_value(values[key])
    if "losses" in allowed:
        data["losses"] = {loss.name: _plain_value(loss) for loss in values["losses"]}
        removed = set(scheme.default_row.get("losses", {})) - set(data["losses"])
        data["losses"] |= {name: False for name in sorted(removed)}
        if values["teachers"]:
            data["teachers"] = {each.name: teacher_to_plain(each) for each in values["teachers"]}
    if "reported" in row.merged.data:
        data["reported"] = row.merged.data["reported"]
    return data


def _plain_value(value: Any) -> Any:
    """A typed value of a row as TOML holds it."""
    if isinstance(value, LossSpec):
        own = {"use": value.use, "weight": value.weight}
        own |= {"on": value.on, "ramp": value.ramp, "teacher": value.teacher}
        given = {name: item for name, item in own.items() if item is not None}
        return {**given, **value.options}
    if isinstance(value, HeadSpec):
        return {"use": value.use, "dim": value.dim, **value.options}
    if isinstance(value, RowInit):
        return {"use": value.use, "from": list(value.rows), **value.options}
    if isinstance(value, ComponentSpec):
        return {"use": value.use, **value.options}
    if attrs.has(type(value)):
        fields = attrs.asdict(value).items()
        return {name: _plain_value(item) for name, item in fields if item is not None}
    return list(value) if isinstance(value, tuple) else value

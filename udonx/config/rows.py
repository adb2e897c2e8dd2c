"""One row: layers merged, every slot validated, impossible pairs found."""

from __future__ import annotations

from typing import Any

import attrs

from registry import schemes
from registry.contracts import BackboneSpec, ComponentSpec, HeadSpec, LossSpec, Row
from registry.registry import RegistryError
from udonx.common.words import dotted_key, format_value, unknown
from udonx.config import descriptions as components
from udonx.config.keys import (
    COMMON,
    FILE_KEYS,
    KIND_TABLES,
    ROW_KEYS,
    SLOT_KEYS,
    TABLES,
    LossSlot,
    PlainKeys,
)
from udonx.config.labels import label_of_name, label_problem
from udonx.config.merge import Layer, Merged
from udonx.config.problems import Problem
from udonx.config.typed import table_options, validate

_SCHEME = ("slots", "default_row", "fixed_row", "teacher", "branches", "plan")


@attrs.define(kw_only=True)
class Layers:
    """The layers of row keys that a file gives, by their place in the merge order;
    `defaults_of_kind[kind][name]` are new defaults of a component.
    """

    setting: list[Layer]
    defaults: list[Layer]
    overrides: list[Layer]
    rows: dict[str, list[Layer]]
    row_overrides: dict[str, list[Layer]]
    defaults_of_kind: dict[str, dict[str, dict[str, Any]]]


@attrs.frozen(kw_only=True)
class RowConfig:
    """A row, resolved but for what only the data and the weights can tell: `data` is what `udonx
    show` prints, `parts` the typed slots; the placeholders of `label` are filled where a plan is
    made.
    """

    name: str
    label: str
    reference: bool
    backbone: str
    own_index: bool
    scheme: Any
    data: dict[str, Any]
    parts: dict[str, Any]
    skipped: str | None = None

    def at(self, backbone: BackboneSpec, seed: int) -> Row:
        """The row for one seed and one backbone."""
        return Row(name=self.name, backbone=backbone, seed=seed, **self.parts)


class RowResolver:
    """Resolves one row; collects problems instead of raising, so that all are reported together."""

    def __init__(self, name: str, layers: Layers, problems: list[Problem]) -> None:
        self.name = name
        self.layers = layers
        self.problems = problems
        self.merged = Merged()
        self.used: set[str] = set()

    def problem(self, key: str, message: str, layer: Layer | None = None) -> None:
        """Report a problem at `key`, at the layer that set it."""
        layer = layer or self.merged.source_of(key) or self.layers.rows[self.name][-1]
        # the second where `roles` made the row from another
        own = (f"rows.{self.name}", self.layers.rows[self.name][0].prefix)
        prefix = "" if layer.prefix in own else layer.prefix  # the row is named beside the key
        self.problems.append(
            Problem(
                where=layer.where, rows=(self.name,), key=dotted_key(prefix, key), message=message
            )
        )

    def resolve(self) -> RowConfig | None:
        """The row, or None where it has problems."""
        before = len(self.problems)
        scheme_spec, scheme = self._scheme()
        if scheme is None:
            return None
        allowed = COMMON | scheme.slots
        self._merge(scheme, allowed)
        data = self.merged.data
        plain_keys = [
            option
            for option in table_options(PlainKeys)
            if option.name in allowed or option.name in COMMON
        ]
        plain = self._table(
            "",
            plain_keys,
            {
                key: value
                for key, value in data.items()
                if key in {option.name for option in plain_keys}
            },
        )
        tables = {key: self._typed_table(key) for key in TABLES if key in allowed}
        parts: dict[str, Any] = {
            "scheme": scheme_spec,
            "transform": tables.pop("transform"),
            **tables,
        }
        for key in ("student_head", "teacher_head", "sampler"):
            if key in allowed:
                parts[key] = self._slot(
                    key,
                    data.get(key),
                    SLOT_KEYS[key][0],
                    SLOT_KEYS[key][1],
                    trains="losses" in allowed,
                )
        if "losses" in allowed:
            parts["losses"] = tuple(
                filter(None, (self._loss(name, entry) for name, entry in self._loss_entries(data)))
            )
        for key in (
            "precision",
            "evaluate",
            "classifier",
            "normalise_total",
            "distill_to_backbone",
            "teacher_budget",
        ):
            if key in plain and key in allowed:
                parts[key] = tuple(plain[key]) if key == "evaluate" else plain[key]
        if plain.get("label") and (message := label_problem(plain["label"])):
            self.problem("label", message)
        self._pairs(scheme, scheme_spec.use, parts, whole=len(self.problems) == before)
        if len(self.problems) > before:
            return None
        return RowConfig(
            name=self.name,
            label=plain["label"] or label_of_name(self.name),
            reference=plain["reference"],
            backbone=plain["backbone"],
            own_index=plain["own_index"],
            scheme=scheme,
            data=self._shown(scheme, allowed, plain, parts),
            parts=parts,
        )

    def _shown(
        self, scheme: Any, allowed: frozenset[str], plain: dict[str, Any], parts: dict[str, Any]
    ) -> dict[str, Any]:
        """The row in full, as plain data that resolves to itself."""
        view = ("label", "reference", "own_index")
        first = {key: plain[key] for key in view if plain.get(key)}
        others = {
            key: value
            for key, value in plain.items()
            if key in allowed and key not in view and value is not None
        }
        shown = {
            **first,
            "scheme": {"use": parts["scheme"].use, **parts["scheme"].options},
            **others,
        }
        for key, value in parts.items():
            if key in TABLES:
                table = {
                    name: item for name, item in attrs.asdict(value).items() if item is not None
                }
                shown[key] = {
                    name: list(item) if isinstance(item, tuple) else item
                    for name, item in table.items()
                }
            elif isinstance(value, HeadSpec):
                shown[key] = {"use": value.use, "dim": value.dim, **value.options}
            elif key == "sampler":
                shown[key] = {"use": value.use, **value.options}
        if "losses" in parts:
            shown["losses"] = {loss.name: _shown_loss(loss) for loss in parts["losses"]}
            removed = set(scheme.default_row.get("losses", {})) - set(shown["losses"])
            shown["losses"] |= {name: False for name in sorted(removed)}
        if "reported" in self.merged.data:
            shown["reported"] = self.merged.data["reported"]
        return shown

    # ------------------------------------------------------------------------------------- layers

    def _scheme(self) -> tuple[ComponentSpec | None, Any]:
        layers = self.layers
        for layer in (
            *layers.defaults,
            *layers.rows[self.name],
            *layers.overrides,
            *layers.row_overrides.get(self.name, []),
        ):
            if "scheme" in layer.data:
                self.merged.add(attrs.evolve(layer, data={"scheme": layer.data["scheme"]}))
        value = self.merged.data.get("scheme")
        if value is None:
            self.problem("scheme", f"is missing; it must be one of {', '.join(schemes.names())}")
            self._unknown_keys()
            return None, None
        spec = self._slot("scheme", value, "schemes", SLOT_KEYS["scheme"][1])
        if spec is None:
            self._unknown_keys()
            return None, None
        return spec, self._built(spec)

    def _built(self, spec: ComponentSpec) -> Any:
        """The scheme of a spec, None where it cannot be built or is none."""
        try:
            scheme = schemes.get(spec.use)(**spec.options)
        except Exception as error:  # a plug-in's own code
            self.problem(
                "scheme", f"'{spec.use}' failed while it was built: {type(error).__name__}: {error}"
            )
            return None
        if lacks := [name for name in _SCHEME if not hasattr(scheme, name)]:
            self.problem(
                "scheme",
                f"'{spec.use}' lacks {', '.join(lacks)}; see Scheme in registry/contracts.py",
            )
            return None
        if not isinstance(scheme.slots, set | frozenset) or not scheme.slots <= ROW_KEYS:
            self.problem(
                "scheme",
                f"'{spec.use}' has the slots {scheme.slots!r}, allowed is a set of"
                f" {', '.join(sorted(ROW_KEYS))}",
            )
            return None
        return scheme

    def _unknown_keys(self) -> None:
        """Keys that no row may have, where it is not known which slots this one has."""
        for layer in (*self.layers.rows[self.name], *self.layers.row_overrides.get(self.name, [])):
            for key in [key for key in layer.data if key not in ROW_KEYS]:
                self.problem(
                    key,
                    f"got {format_value(layer.data[key])}, but this is an {unknown(key, ROW_KEYS)}",
                    layer,
                )

    def _merge(self, scheme: Any, allowed: frozenset[str]) -> None:
        name = self.merged.data["scheme"]["use"]
        layers, merged = self.layers, self.merged
        merged.add(Layer(where=f"scheme {name}", prefix="", data=dict(scheme.default_row)))
        for layer in layers.setting:
            merged.add(self._filtered(layer, allowed))
        for layer in layers.defaults:
            merged.add(self._filtered(layer, allowed))
        merged.add(Layer(where=f"scheme {name}", prefix="", data=dict(scheme.fixed_row)))
        for layer in layers.rows[self.name]:
            merged.add(self._strict(layer, allowed, name))
        for layer in layers.overrides:
            merged.add(self._filtered(layer, allowed))
        for layer in layers.row_overrides.get(self.name, []):
            merged.add(self._strict(layer, allowed, name))

    def _filtered(self, layer: Layer, allowed: frozenset[str]) -> Layer:
        data = {
            key: value for key, value in layer.data.items() if key in allowed and key != "scheme"
        }
        self.used |= {slot_key(layer, key) for key in data}
        if self._changes_losses(data):
            # a default for a loss that this scheme does not have is not for this row, unless it
            # says which loss to use
            own = set(self.merged.data.get("losses", {}))
            entries = data["losses"].items()
            data["losses"] = {
                name: entry for name, entry in entries if name in own or _names_loss(entry)
            }
            self.used |= {slot_key(layer, f"losses.{name}") for name in data["losses"]}
        return attrs.evolve(layer, data=data)

    def _strict(self, layer: Layer, allowed: frozenset[str], scheme: str) -> Layer:
        for key, value in layer.data.items():
            if key in allowed:
                continue
            if key in ROW_KEYS:
                slots = (
                    f"scheme '{scheme}' has no slot for it; its keys are"
                    f" {', '.join(sorted(allowed))}"
                )
                self.problem(key, f"got {format_value(value)}, but {slots}", layer)
            else:
                home = " (a key of the file, not of a row)" if key in FILE_KEYS else ""
                self.problem(
                    key,
                    f"got {format_value(value)}, but this is an {unknown(key, allowed)}{home}",
                    layer,
                )
        data = {
            key: value for key, value in layer.data.items() if key in allowed and key != "scheme"
        }
        if self._changes_losses(data):
            own = set(self.merged.data.get("losses", {}))
            stray = {
                name: entry
                for name, entry in data["losses"].items()
                if name not in own and _only_changes(entry)
            }
            data["losses"] = {
                name: entry for name, entry in data["losses"].items() if name not in stray
            }
            for name, entry in stray.items():
                what = unknown(name, own, "loss of this row")
                self.problem(
                    f"losses.{name}",
                    f"got {format_value(entry)}, but this is an {what}; a new one says which to"
                    " `use`",
                    layer,
                )
        return attrs.evolve(layer, data=data)

    def _changes_losses(self, data: dict[str, Any]) -> bool:
        """Whether a layer has a table of losses for a table of losses: anything else is kept, and
        named as a wrong type.
        """
        return isinstance(data.get("losses"), dict) and isinstance(
            self.merged.data.get("losses", {}), dict
        )

    # -------------------------------------------------------------------------------------- parts

    def _table(self, key: str, options: Any, values: dict[str, Any]) -> dict[str, Any]:
        plain, found = validate(tuple(options), values)
        for name, message in found:
            self.problem(f"{key}.{name}" if key else name, message)
        return plain

    def _typed_table(self, key: str) -> Any:
        value = self.merged.data.get(key, {})
        if not isinstance(value, dict):
            self.problem(key, f"got {format_value(value)}, allowed is a table")
            return None
        plain = self._table(key, table_options(TABLES[key]), value)
        if not plain:
            return None
        plain = {
            name: tuple(item) if isinstance(item, list) else item for name, item in plain.items()
        }
        return TABLES[key](**plain)

    def _slot(self, key: str, value: Any, kind: str, slot: type, *, trains: bool = True) -> Any:
        if value is None:
            names = (
                _heads(fitted=not trains)
                if kind == "heads"
                else components.registry_of(kind).names()
            )
            lacks = (
                "got false, but this row cannot be without it"
                if key in self.merged.origin
                else "is missing"
            )
            self.problem(key, f"{lacks}; it must name one of {', '.join(names)}")
            return None
        if isinstance(value, str):
            value = {"use": value}
        if not isinstance(value, dict):
            self.problem(key, f"got {format_value(value)}, allowed is a name or a table with 'use'")
            return None
        own_options = table_options(slot)
        own_names = {option.name for option in own_options}
        own = self._table(
            key, own_options, {name: item for name, item in value.items() if name in own_names}
        )
        use = value.get("use", own.get("use") if own else None)
        if not isinstance(use, str):
            return None
        try:
            component = components.describe(kind, use)
        except RegistryError:
            names = components.registry_of(kind).names()
            self.problem(
                f"{key}.use",
                f"got {format_value(use)}, which is an"
                f" {unknown(use, names, f'component of {kind}')}",
            )
            return None
        defaults = self.layers.defaults_of_kind.get(kind, {}).get(use, {})
        given = {name: item for name, item in value.items() if name not in own_names}
        plain, found = validate(component.options, {**defaults, **given}, also=own_names)
        for name, message in found:
            self.problem(f"{key}.{name}", message)
        if found or not own:
            return None
        try:
            source, files = (
                components.source_hash(kind, use),
                components.option_files(component, plain),
            )
        except RegistryError as error:
            self.problem(key, str(error))
            return None
        spec = {
            "use": use,
            "options": {name: item for name, item in plain.items() if item is not None},
            "version": component.version,
            "source": source,
            "files": files,
        }
        if kind == "heads":
            return HeadSpec(dim=own["dim"], **spec)
        if kind == "losses":
            return LossSpec(
                name=key.removeprefix("losses."), weight=own["weight"], on=own["on"], **spec
            )
        return ComponentSpec(**spec)

    def _loss_entries(self, data: dict[str, Any]) -> list[tuple[str, Any]]:
        losses = data.get("losses", {})
        if not isinstance(losses, dict):
            self.problem(
                "losses",
                f"got {format_value(losses)}, allowed are named tables,"
                f" [rows.{self.name}.losses.NAME]",
            )
            return []
        for key in sorted(losses.keys() & {option.name for option in table_options(LossSlot)}):
            message = (
                f"got {format_value(losses[key])}, but '{key}' is a key of a loss, no name of one;"
                f" write losses.NAME = {{ {key} = ... }}"
            )
            self.problem(f"losses.{key}", message)
        return list(losses.items())

    def _loss(self, name: str, entry: Any) -> LossSpec | None:
        loss = self._slot(f"losses.{name}", entry, "losses", LossSlot)
        if loss is None or components.describe("losses", loss.use).facts["needs_teacher"]:
            return loss
        return attrs.evolve(loss, on=loss.on or "student")

    # --------------------------------------------------------------------------- impossible pairs

    def _pairs(self, scheme: Any, scheme_name: str, parts: dict[str, Any], *, whole: bool) -> None:
        """Look at what does not go together; `whole` is false where parts are missing because they
        have problems of their own.
        """
        for branch in parts.get("evaluate", ()):
            if branch not in scheme.branches:
                self.problem(
                    "evaluate",
                    f"got {format_value(branch)}, allowed with scheme '{scheme_name}':"
                    f" {', '.join(scheme.branches)}",
                )
        if len(set(parts.get("evaluate", ()))) < len(parts.get("evaluate", ())):
            self.problem(
                "evaluate",
                f"got {format_value(list(parts['evaluate']))}, allowed is each branch once",
            )
        if transform := parts["transform"]:
            if transform.mode == "resize_crop" and transform.resize < transform.crop:
                at_least = f"got {transform.resize}, allowed is at least crop = {transform.crop}"
                at_most = f"got {transform.crop}, allowed is at most resize = {transform.resize}"
                key = self.merged.latest("transform.resize", "transform.crop")
                self.problem(key, at_most if key == "transform.crop" else at_least)
            if transform.scale[0] > transform.scale[1]:
                self.problem(
                    "transform.scale",
                    f"got {format_value(list(transform.scale))}, allowed is [smallest, largest]",
                )
        trains = "losses" in scheme.slots
        for key in ("student_head", "teacher_head"):
            head = parts.get(key)
            if head and components.describe("heads", head.use).facts["fitted"] == trains:
                wanted = (
                    f"{'trained' if trains else 'fitted'}: {', '.join(_heads(fitted=not trains))}"
                )
                self.problem(
                    f"{key}.use",
                    f"got \"{head.use}\", but scheme '{scheme_name}' needs a head that is {wanted}",
                )
        if not trains:
            return
        budget = parts["budget"]
        if budget and (budget.steps is None) == (budget.epochs is None):
            got = "both steps and epochs" if budget.steps else "neither steps nor epochs"
            self.problem("budget", f"got {got}, allowed is one of them")
        self._loss_pairs(scheme, scheme_name, parts["losses"])
        if not whole:  # what the losses and the sampler lack may be what has a problem of its own
            return
        self._needed_losses(scheme, parts["losses"])
        if "sampler" not in parts:
            return
        sampler = parts["sampler"]
        if components.describe("samplers", sampler.use).facts["needs_signal"]:
            signals = [
                loss.name
                for loss in parts["losses"]
                if loss.on and (loss.on == "student" or scheme.teacher == "together")
            ]
            if sampler.options.get("signal") not in signals:
                self.problem(
                    "sampler.signal",
                    f"got {format_value(sampler.options.get('signal'))}, an impossible pair with"
                    f" scheme '{scheme_name}': the stage that trains the student has no such"
                    f" classification loss; it has {', '.join(signals) or 'none'}",
                )

    def _loss_pairs(self, scheme: Any, scheme_name: str, losses: tuple[LossSpec, ...]) -> None:
        for loss in losses:
            needs_teacher = components.describe("losses", loss.use).facts["needs_teacher"]
            if needs_teacher and loss.on:
                message = (
                    f"got \"{loss.on}\", but '{loss.use}' is a loss between student and teacher;"
                    " leave `on` out"
                )
                self.problem(f"losses.{loss.name}.on", message)
            if scheme.teacher == "none" and (needs_teacher or loss.on == "teacher"):
                with_teacher = [
                    name
                    for name in schemes.names()
                    if getattr(schemes.get(name), "teacher", "none") != "none"
                ]
                self.problem(
                    f"losses.{loss.name}",
                    f"got '{loss.use}', which needs a teacher: an impossible pair with scheme"
                    f" '{scheme_name}'; schemes with a teacher are {', '.join(with_teacher)}",
                )

    def _needed_losses(self, scheme: Any, losses: tuple[LossSpec, ...]) -> None:
        for branch in ("student",) if scheme.teacher == "none" else ("teacher", "student"):
            if not any(loss.on == branch and loss.weight > 0 for loss in losses):
                self.problem(
                    "losses",
                    f"no loss is on the {branch}, whose classifier would stay untrained; add one"
                    f' with on = "{branch}"',
                )


def _heads(*, fitted: bool) -> list[str]:
    """The heads that are fitted on features, or those that are trained."""
    names = components.registry_of("heads").names()
    return [name for name in names if components.describe("heads", name).facts["fitted"] == fitted]


def slot_key(layer: Layer, key: str) -> str:
    """A key of a layer, as `RowResolver.used` notes it."""
    return f"{layer.where}:{layer.prefix}:{key}"


def _names_loss(entry: Any) -> bool:
    """Whether a loss entry says which loss it is, so that it can stand alone."""
    return isinstance(entry, str) or (isinstance(entry, dict) and "use" in entry)


def _only_changes(entry: Any) -> bool:
    """Whether a loss entry only changes or removes what is inherited."""
    return entry is False or (isinstance(entry, dict) and "use" not in entry)


def _shown_loss(loss: LossSpec) -> dict[str, Any]:
    return {
        "use": loss.use,
        "weight": loss.weight,
        **({"on": loss.on} if loss.on else {}),
        **loss.options,
    }


def check_kind_tables(
    layers: list[Layer], problems: list[Problem]
) -> dict[str, dict[str, dict[str, Any]]]:
    """New defaults of components that settings give ([KIND.NAME]), merged, parents first; unknown
    names and options become problems.
    """
    merged: dict[str, dict[str, dict[str, Any]]] = {}
    for layer in layers:
        for kind in KIND_TABLES:
            tables = layer.data.get(kind, {})
            for name, options in tables.items() if isinstance(tables, dict) else ():
                key = dotted_key(layer.prefix, kind, name)
                if name not in (names := components.registry_of(kind).names()):
                    message = f"this is an {unknown(name, names, f'component of {kind}')}"
                    problems.append(Problem(where=layer.where, key=key, message=message))
                    continue
                allowed = tuple(
                    attrs.evolve(option, required=False)
                    for option in components.describe(kind, name).options
                )
                found = validate(allowed, options)[1]
                problems += [
                    Problem(where=layer.where, key=dotted_key(key, option), message=message)
                    for option, message in found
                ]
                if found:
                    continue
                merged.setdefault(kind, {}).setdefault(name, {}).update(options)
    return merged

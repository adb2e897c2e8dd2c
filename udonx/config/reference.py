"""The reference of all keys, read from where they are declared.

It is for the terminal (`udonx keys`) and a page (docs/keys.md).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from registry.options import Option, first_paragraph
from registry.registry import Component, RegistryError, nearest
from udonx.common.words import format_value
from udonx.config import descriptions as components
from udonx.config.keys import (
    DOCS,
    KIND_TABLES,
    PLAIN_KEYS,
    SETTING_DOCS,
    SLOT_KEYS,
    TABLES,
    DataOptions,
    DimensionOptions,
    FileOptions,
    HeadSlot,
    InitSlot,
    LossSlot,
    PlainSlot,
    ReportedOptions,
    ResultOptions,
    SettingOptions,
    StartOptions,
    TeacherOptions,
    TuneOptions,
)
from udonx.config.typed import table_options


@attrs.frozen
class Section:
    """Keys that stand together in a file.

    Attributes:
        name: how to ask for them.
        place: where they are written.
        doc: a sentence about them.
        options: the keys.
    """

    name: str
    place: str
    doc: str
    options: tuple[Option, ...]


_PREFACE = """\
# Reference of all keys

Made by `make docs` from where the keys are declared: do not edit it. `udonx keys` and
`udonx components` show the same, plug-ins included.
A cadence (unit: steps) is a number of steps (`400`) or a share of the stage's budget (`"20%"`,
`"2/7"`).

Where several places give a key, the last of these counts: the default of the component, the
setting's `[KIND.NAME]`, the scheme's own losses, the setting, `[defaults]` of the file, what the
scheme fixes, the row, `--set`. What a setting or a file inherits comes before what it says itself.
A key that a row's scheme has no slot for is left out where it comes from a setting or from
`[defaults]`, and is an error in a row."""
_FILE = "An experiment file is one table of results: rows, and what they share."
_ROW = "A row says what differs from the other rows. Which keys it may have depends on its scheme."
_SETTING = (
    "A setting is data, backbones, budget and whatever else all rows share: it may hold any key of"
    " a row but `scheme` and those that say how the row is shown."
)
_HEAD = "A projection from the backbone's features to an embedding."
_SLOT = "The options of the component that `use` names stand beside these keys."
_SOURCE = "The options of the component that `source` names stand beside these keys."
_TABLE: dict[str, Any] = {"type": "dict", "of": None}
_NAME_OR_TABLE: dict[str, Any] = {"type": "union", "of": [{"type": "str"}, _TABLE]}


def sections() -> dict[str, Section]:
    """Every table of an experiment file and of a setting, by name, outermost first.

    Options of components are not among them.
    """
    of_rows = "of a row or of [defaults]"
    of_row = "of a row, of [defaults] or of a setting"
    file = [
        _holder("setting", _NAME_OR_TABLE, default="demo"),
        *(_holder(key) for key in ("defaults", "rows", "results", "tune")),
    ]
    row = [_holder(key, _NAME_OR_TABLE) for key in SLOT_KEYS] + [
        _holder(key) for key in ("losses", "teachers", *TABLES, "grid", "reported")
    ]
    setting = [_holder(key, docs=SETTING_DOCS) for key in ("data", "backbones", *KIND_TABLES)]
    found = [
        _section("file", "at the top of an experiment file", _FILE, FileOptions, file),
        _section("results", "[results] of an experiment file", DOCS["results"], ResultOptions),
        _section(
            "tune",
            "[tune] of an experiment file",
            f"{DOCS['tune']} {_SLOT}",
            TuneOptions,
            [_holder("space")],
        ),
        _section(
            "dimension",
            "[tune.space], for a key of rows",
            first_paragraph(DimensionOptions),
            DimensionOptions,
        ),
        Section("row", "[rows.NAME], or [defaults] for all rows", _ROW, (*PLAIN_KEYS, *row)),
        *(_section(key, f"[{key}] {of_row}", DOCS[key], cls) for key, cls in TABLES.items()),
        _section(
            "scheme",
            "scheme = NAME or [scheme] of a row or of [defaults]",
            f"{DOCS['scheme']} {_SLOT}",
            PlainSlot,
        ),
        _section(
            "head", f"[student_head] and [teacher_head] {of_row}", f"{_HEAD} {_SLOT}", HeadSlot
        ),
        _section(
            "classifier",
            f"student_classifier = NAME or [student_classifier], the same of the teacher, {of_row}",
            f"What turns an embedding into cosines of classes in training. {_SLOT}",
            PlainSlot,
        ),
        _section("loss", f"[losses.NAME] {of_row}", f"{DOCS['losses']} {_SLOT}", LossSlot),
        _section("teacher", f"[teachers.NAME] {of_rows}", DOCS["teachers"], TeacherOptions),
        _section(
            "sampler",
            f"sampler = NAME or [sampler] {of_row}",
            f"{DOCS['sampler']} {_SLOT}",
            PlainSlot,
        ),
        _section(
            "update",
            f"update = NAME or [update] {of_row}",
            f"{DOCS['update']} {_SLOT}",
            PlainSlot,
        ),
        _section(
            "reported",
            f"[reported] {of_rows}",
            f"{DOCS['reported']} It has a key for each metric (`udonx components metrics`) beside"
            " these.",
            ReportedOptions,
        ),
        _section("init", f"[init] {of_rows}", f"{DOCS['init']} {_SLOT}", InitSlot),
        _section(
            "setting",
            "[setting] of an experiment file, or a file in settings/",
            _SETTING,
            SettingOptions,
            setting,
        ),
        _section("data", "[data] of a setting", f"{DOCS['data']} {_SOURCE}", DataOptions),
        _section(
            "backbone",
            "[backbones.ROLE] of a setting",
            f"{first_paragraph(StartOptions)} {_SLOT}",
            StartOptions,
        ),
    ]
    return {section.name: section for section in found}


def section(name: str) -> Section:
    """The section of that name.

    Raises:
        RegistryError: there is none; the nearest, or the command that shows components, is named.
    """
    known = sections()
    if name in known:
        return known[name]
    if name in components.REGISTRIES:
        raise RegistryError(f"{name!r} are components: udonx components {name}")
    close = nearest(name, known)
    hint = f"did you mean {' or '.join(repr(item) for item in close)}? " if close else ""
    raise RegistryError(f"{name!r} is no table of keys; {hint}there are {', '.join(known)}")


def describe_section(section: Section) -> str:
    """A section for the terminal: its keys, each with default, type, unit and sentence."""
    return "\n".join(
        [
            f"{section.name}: {section.place}",
            *wrapped(section.doc, "    "),
            "",
            *describe_options(section.options, "    "),
        ]
    )


def describe_options(options: Iterable[Option], indent: str) -> list[str]:
    """For each option `name = default  (type, unit)`.

    Below it is its sentence where it has one.
    """
    lines = []
    for option in options:
        default = f" = {_default(option)}" if _default(option) else ""
        # the type of steps says it
        unit = f", {option.unit}" if option.unit and option.type["type"] != "steps" else ""
        lines.append(f"{indent}{option.name}{default}  ({option.format_type()}{unit})")
        lines += wrapped(option.doc, f"{indent}    ")
    return lines


def to_markdown() -> str:
    """The whole reference as a page.

    Every section, then every component that ships with the project.
    """
    lines = [_PREFACE]
    for item in sections().values():
        lines += [
            "",
            f"## {item.name}",
            "",
            f"{item.place[0].upper()}{item.place[1:]}. {item.doc}",
            "",
            *_rows(item.options),
        ]
    for kind, registry in components.REGISTRIES.items():
        lines += ["", f"## Components: {kind}"]
        for name in sorted(registry.builtin):
            component: Component = components.describe(kind, name)
            lines += [
                "",
                f"### {name}",
                "",
                component.doc,
                *([""] if component.options else []),
                *_rows(component.options),
            ]
    return "\n".join(lines) + "\n"


def _section(name: str, place: str, doc: str, cls: type, more: Iterable[Option] = ()) -> Section:
    return Section(name=name, place=place, doc=doc, options=(*table_options(cls), *more))


def _holder(
    key: str,
    kind: dict[str, Any] = _TABLE,
    default: str | None = None,
    docs: Mapping[str, str] = DOCS,
) -> Option:
    """A key that holds a table, as an option."""
    return Option(name=key, type=kind, required=False, default=default, doc=docs[key])


def _default(option: Option) -> str:
    """The default in words; empty for a table, which is empty unless something is written in it."""
    if option.required:
        return "required"
    if option.default is not None:
        return format_value(option.default)
    return "" if option.type in (_TABLE, _NAME_OR_TABLE) else "unset"


def wrapped(text: str, indent: str) -> list[str]:
    """Text in indented lines of up to 110 characters; none where it is empty."""
    return textwrap.wrap(
        text, 110, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _rows(options: tuple[Option, ...]) -> list[str]:
    """A table of Markdown, or nothing where there are no options."""
    if not options:
        return []
    cells = []
    for option in options:
        default = _default(option)
        cells.append(
            (
                f"`{option.name}`",
                option.format_type(),
                default if default in ("required", "unset") else f"`{default}`",
                option.unit,
                option.doc,
            )
        )
    return [
        "| key | type | default | unit | what it is |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in cells),
    ]

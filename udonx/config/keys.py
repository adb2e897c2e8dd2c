"""The keys of an experiment file, a setting and a row, each declared once with its type."""

from __future__ import annotations

import typing
from typing import Annotated, Any, Literal

import attrs
from pydantic import Field

from registry.contracts import Recipe, RowSpec, Slot, Steps
from registry.metrics import DEFAULTS
from registry.options import Option, description_and_unit, first_paragraph, options_of


@attrs.frozen(kw_only=True)
class DataOptions:
    """Where the images come from."""

    source: Annotated[
        str,
        Field(
            description=(
                "Which data source of the registry: `demo` is generated and needs no folder; `uned`"
                " is a folder in UnED's layout, `folders` one of `<domain>/<class>/<image>`, both"
                " given as `root` or by `--data`."
            )
        ),
    ] = "demo"
    domains: Annotated[
        list[str] | None,
        Field(
            description=(
                "The domains to use, in this order; without it all of them, in alphabetical order."
            )
        ),
    ] = None
    max_unreadable: Annotated[
        int | None,
        Field(
            ge=0,
            description=(
                "How many images of a split may turn out not to be decodable: they are left out and"
                " named; more end the run. Without it 10, or every 100th of a larger split."
            ),
        ),
    ] = None
    max_pixels: Annotated[
        int,
        Field(
            gt=0,
            le=178_956_970,
            description="Larger images are refused.",
            json_schema_extra={"unit": "pixels"},
        ),
    ] = 100_000_000


@attrs.frozen(kw_only=True)
class StartOptions:
    """A backbone and its start weights: a folder (`local`), none (`random`) or the hub's (`hub`).

    The first that is given counts.
    """

    use: Annotated[str, Field(description="Which backbone of the registry.")] = "timm"
    local: Annotated[
        str | Literal[False] | None,
        Field(
            description=(
                "A folder of start weights in timm's layout, looked up under `--weights`,"
                " `UDONX_WEIGHTS` and udonx's own weights; it is found or is an error. `false`"
                " removes an inherited one."
            )
        ),
    ] = None
    hub: Annotated[
        str | Literal[False] | None,
        Field(
            description=(
                "A tag of timm's weights of this model, such as `a1_in1k`: the folder `MODEL.TAG`"
                " where there is one, else timm's hub. `false` removes an inherited one."
            )
        ),
    ] = None
    prefer: Annotated[
        str | None,
        Field(
            description=(
                "A folder of start weights of this model that is taken in place of `hub` where one"
                " is there; unlike `local`, it may be missing."
            )
        ),
    ] = None
    random: Annotated[
        bool, Field(description="Starts from random weights, drawn from the seed.")
    ] = False


@attrs.frozen(kw_only=True)
class ResultOptions:
    """What is kept beside the results folder."""

    observers: Annotated[
        list[str],
        Field(
            description=(
                "Databases for copies of the Sacred runs: `mongodb://...` or SQLAlchemy URLs such"
                " as `sqlite:///runs.db`."
            )
        ),
    ] = attrs.field(factory=list)
    writers: Annotated[
        list[Literal["tensorboard", "wandb"]],
        Field(
            description=(
                "Programs for which curves are written: `tensorboard`, `wandb` (Weights & Biases);"
                " each needs the extra of its name. `--writer` adds one."
            )
        ),
    ] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class FileOptions:
    """The plain keys of an experiment file."""

    title: Annotated[str, Field(description="The table's title; without it the file's name.")] = ""
    inherit: Annotated[
        str | None,
        Field(
            description=(
                "Another experiment file, by its path from this one, or a shipped one by its file"
                " name: its keys and rows lie below this file's own."
            )
        ),
    ] = None
    roles: Annotated[
        list[str],
        Field(
            description=(
                "Makes every row that names no backbone once for each of these roles of the"
                " setting, such as `main` and `large`."
            )
        ),
    ] = attrs.field(factory=list)
    plugins: Annotated[
        list[str],
        Field(
            description=(
                "Python files (by their path from this one) and modules to import first; no other"
                " code of a file is ever run."
            )
        ),
    ] = attrs.field(factory=list)
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**63)]],
        Field(
            min_length=1,
            description=(
                "Every row is trained once with each of these seeds; `--seeds` replaces them."
            ),
        ),
    ] = attrs.field(factory=lambda: [0])
    metrics: Annotated[
        list[str],
        Field(
            min_length=1,
            description=(
                "The columns of the table, in this order; `udonx components metrics` lists them."
                " Screens show domains by the first; differences are in R@1, whatever is shown."
            ),
        ),
    ] = attrs.field(factory=lambda: list(DEFAULTS))


@attrs.frozen(kw_only=True)
class TuneOptions:
    """The own keys of [tune]."""

    use: Annotated[
        str,
        Field(description="Which search of the registry chooses the values of the next trial."),
    ] = "random"
    trials: Annotated[
        int,
        Field(
            ge=2,
            le=1000,
            description=(
                "How many trials each row gets; the first is the row as it is. A grid that is"
                " smaller has as many as it needs."
            ),
        ),
    ] = 8
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**63)]] | None,
        Field(
            min_length=1,
            description=(
                "Every trial is trained once with each of these seeds, and its score is the mean;"
                " without it the seeds of the rows."
            ),
        ),
    ] = None


@attrs.frozen(kw_only=True)
class DimensionOptions:
    """The values of a key in [tune.space]: a range, or a list."""

    low: Annotated[float | None, Field(description="The smallest value of a range.")] = None
    high: Annotated[float | None, Field(description="The largest value of a range.")] = None
    log: Annotated[
        bool,
        Field(description="Searches a range by factors, as rates need it, not by differences."),
    ] = False
    of: Annotated[
        list[bool | int | float | str | list[bool | int | float | str]] | None,
        Field(description="Single values, in place of a range."),
    ] = None


@attrs.frozen(kw_only=True)
class SettingOptions:
    """The plain key of a setting."""

    inherit: Annotated[
        str | None,
        Field(
            description=(
                "Another setting, by its name: this one lies over it and says only what differs."
            )
        ),
    ] = None


@attrs.frozen(kw_only=True)
class RowOptions:
    """Keys of a row that no component reads: how the row is shown, and the role of its backbone."""

    label: Annotated[
        str | None,
        Field(
            description=(
                "The row's name in the table, where `{domains}` is the number of domains; without"
                " it its name in the file."
            )
        ),
    ] = None
    reference: Annotated[
        bool,
        Field(
            description=(
                "Shows the row below a line, for orientation: it is not compared with the others."
            )
        ),
    ] = False
    backbone: Annotated[
        str, Field(description="The backbone's role in the setting, such as `main` or `large`.")
    ] = "main"
    own_index: Annotated[
        bool,
        Field(
            description=(
                "Shows the figures of the own-domain index (a query is searched in its own domain"
                " only), not the merged one."
            )
        ),
    ] = False


Percent = Annotated[float, Field(ge=0, le=100)]
"""A figure as tables show it."""


@attrs.frozen(kw_only=True)
class ReportedOptions:
    """The own keys of `reported`, beside one for each metric."""

    source: Annotated[
        str, Field(description="Where the figures stand, for the footnote of the table.")
    ] = ""
    domains: Annotated[
        dict[str, dict[str, Percent]] | None,
        Field(description="Figures of single domains: `domains.cars = { r1 = 61.2 }`."),
    ] = None


@attrs.frozen(kw_only=True)
class HeadSlot:
    """The own keys of a head slot."""

    use: Annotated[str, Field(description="Which head of the registry.")] = "linear"
    dim: Annotated[
        int,
        Field(
            gt=0, description="Length of the embedding.", json_schema_extra={"unit": "dimensions"}
        ),
    ]


@attrs.frozen(kw_only=True)
class LossSlot:
    """The own keys of a loss entry."""

    use: Annotated[str, Field(description="Which loss of the registry.")]
    weight: Annotated[float, Field(ge=0, description="Factor of this term in the total loss.")] = (
        1.0
    )
    on: Annotated[
        Literal["teacher", "student"] | None,
        Field(
            description=(
                "Whose classification it is, of a loss that needs no teacher; without it the"
                " student's."
            )
        ),
    ] = None
    teacher: Annotated[
        str | None,
        Field(
            description=(
                "Of a loss between student and teacher: which of the row's `teachers` it learns"
                ' from, by its name, or "*" for all; without it the teacher of the scheme.'
            )
        ),
    ] = None
    ramp: Annotated[
        Steps | None,
        Field(
            description=(
                "How long the weight grows linearly from 0; the total is divided by the full"
                " weights all the same. Without it, as with 0, it is full from the first step on."
            )
        ),
    ] = None


@attrs.frozen(kw_only=True)
class TeacherOptions:
    """A teacher that a row names: another row's student, or a backbone as it is."""

    row: Annotated[
        str | None,
        Field(description="The row whose student teaches, of the same seed."),
    ] = None
    backbone: Annotated[
        str | None,
        Field(description="The backbone that teaches as it is, by its role in the setting."),
    ] = None
    domains: Annotated[
        Annotated[list[str], Field(min_length=1)] | None,
        Field(description="The domains that it teaches; without it all of the row."),
    ] = None
    crop: Annotated[
        Annotated[int, Field(gt=0)] | None,
        Field(
            description=(
                "At which size a backbone sees the same parts of the images; without it at the"
                " row's crop. A row that teaches sees them at its own."
            ),
            json_schema_extra={"unit": "pixels"},
        ),
    ] = None
    adapter: Annotated[
        str | dict[str, Any] | None,
        Field(
            description=(
                "A head, by its name or as a table, by which the student answers this teacher. It"
                " has the length of the teacher's embedding, is trained with the student's heads"
                " and is no part of the exported model. Without it the student's embedding answers."
            )
        ),
    ] = None
    reads: Annotated[
        Literal["embedding", "features"],
        Field(description="What of the student the adapter is given."),
    ] = "embedding"


@attrs.frozen(kw_only=True)
class PlainSlot:
    """The own key of a slot that has no other."""

    use: Annotated[str, Field(description="Which component of the registry.")]


@attrs.frozen(kw_only=True)
class InitSlot:
    """The own keys of an init."""

    use: Annotated[str, Field(description="Which init of the registry.")]
    from_: Annotated[
        str | Annotated[list[str], Field(min_length=1)],
        Field(
            description=(
                "The row that this one starts from, or a list of rows. Of a row with a grid, all"
                " rows that it makes. Each gives the student's stage of the same seed."
            )
        ),
    ]


OWN_KEYS: dict[str, type] = {
    "heads": HeadSlot,
    "classifiers": PlainSlot,
    "inits": InitSlot,
    "losses": LossSlot,
    "samplers": PlainSlot,
    "schemes": PlainSlot,
    "updates": PlainSlot,
}
"""The own keys of a slot that names a component of a kind."""


def _annotations(cls: type) -> dict[str, Any]:
    """The annotations of an attrs class's fields, by name, with their words."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in attrs.fields(cls)}


def _kind(annotation: Any) -> str | None:
    """The kind of component that a key of this annotation names; None where it names none."""
    marks = [item for item in typing.get_args(annotation)[1:] if isinstance(item, Slot)]
    return marks[0].kind if marks else None


_SPEC = {key: item for key, item in _annotations(RowSpec).items() if key != "recipe"}
_RECIPE = _annotations(Recipe)
_DECLARED = _SPEC | _RECIPE

RECIPE_KEYS = frozenset(_RECIPE)
"""Keys of a row that say how it is trained."""

TABLES: dict[str, type] = {key: item for key, item in _DECLARED.items() if attrs.has(item)}
"""Keys of a row that hold a table of their own keys."""

SLOT_KEYS: dict[str, tuple[str, type]] = {
    key: (kind, OWN_KEYS[kind])
    for key, item in _DECLARED.items()
    if (kind := _kind(item)) and key != "losses"
}
"""Keys of a row that hold one component: its kind, and the slot's own keys."""

_PLAIN = frozenset(_DECLARED) - TABLES.keys() - SLOT_KEYS.keys() - {"losses", "teachers"}

PLAIN_KEYS: tuple[Option, ...] = (
    *options_of(RowOptions),
    *options_of(RowSpec, _PLAIN),
    *options_of(Recipe, _PLAIN),
)
"""Keys of a row that hold a plain value, with types and defaults."""

SLOT_DEFAULTS = {"update": Recipe().update.use}
"""Slots that need not be filled, and the component that they hold then."""

OPTIONAL_SLOTS = frozenset({"init", "student_classifier", "teacher_classifier"})
"""Slots that may stay empty."""

KIND_TABLES = ("classifiers", "heads", "losses", "samplers", "schemes", "updates")
"""Tables of a setting that give components new defaults."""

DOCS: dict[str, str] = {
    "setting": (
        "Data, backbones and budget: a setting by its name (`demo`, `smoke`, or a file in"
        " `settings/` beside this one), or a table of a setting's keys."
    ),
    "defaults": (
        "Keys of a row, for all rows of this file. A key that a row's scheme has no slot for is"
        " left out of that row."
    ),
    "rows": (
        "The rows of the table, each a table `[rows.NAME]`. `NAME = false` leaves out an inherited"
        " row."
    ),
    "results": "What is kept beside the results folder.",
    "tune": (
        "What `udonx tune` tries for each row. A file over this one has the same, unless it has a"
        " `[tune]` of its own."
    ),
    "space": (
        "The keys of rows that are searched, by the paths that `--set` takes, each with its values:"
        " a range, `{ low, high, log }`, or a list, `{ of = [...] }`. A row has those that it has"
        " a slot for; `rows.NAME.KEY` is for one row."
    ),
    "data": "Where the images come from.",
    "backbones": (
        "The backbones that rows may name, each a table `[backbones.ROLE]`. A row without"
        " `backbone` has the role `main`."
    ),
    **{key: description_and_unit(item)[0] for key, item in _DECLARED.items() if _kind(item)},
    **{key: first_paragraph(cls) for key, cls in TABLES.items()},
    "teachers": description_and_unit(_DECLARED["teachers"])[0],
    "grid": (
        "Lists of values at the paths of keys, such as `student_head.dim = [32, 64]`: the row is"
        " made once for each combination of them, under its name and the values. Only of a row,"
        " not of `[defaults]`; `false` removes an inherited one."
    ),
    "reported": (
        "Figures of this row from elsewhere, such as a paper, in per cent by the metric's name:"
        ' `{ r1 = 52.1, source = "..." }`. They stand in a line of their own, marked, and are'
        " compared with nothing."
    ),
}
"""What the keys that hold tables are for."""

SETTING_DOCS = {
    **DOCS,
    **{
        kind: f"New defaults of {kind} for this setting, each a table `[{kind}.NAME]`."
        for kind in KIND_TABLES
    },
}
"""The same in a setting, where `losses` are defaults and not terms."""

VIEW = frozenset({"label", "reference", "own_index", "reported"})
"""Keys of a row that say how it is shown, and change nothing that is computed."""

COMMON = VIEW | {"backbone"} | (_SPEC.keys() - {"student_head", "domains"})
"""Keys that every row may have, whatever its scheme."""

ROW_KEYS = COMMON | _DECLARED.keys()
FILE_KEYS = frozenset(
    {
        "setting",
        "defaults",
        "rows",
        "results",
        "tune",
        *(field.name for field in attrs.fields(FileOptions)),
    }
)
SETTING_KEYS = frozenset({"inherit", "data", "backbones", *KIND_TABLES}) | (
    ROW_KEYS - VIEW - {"scheme", "init"}
)
"""Keys of a setting, which knows no rows: so none that names some."""

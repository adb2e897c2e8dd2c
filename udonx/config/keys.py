"""The keys of an experiment file, a setting and a row, each declared once with its type."""

from __future__ import annotations

from typing import Annotated, Literal

import attrs
from pydantic import Field

from registry.contracts import Budget, Optimiser, Schedule, Transform, Validation


@attrs.frozen(kw_only=True)
class DataOptions:
    """Where the images come from. `demo` and `demo_pretrain` are generated from `seed` and need no folder; `uned` is any folder in
    UnED's layout, given as `root` or by `--data`. `domains` fixes their order (default: alphabetical)."""

    source: Literal["demo", "demo_pretrain", "uned"] = "demo"
    root: str | None = None
    domains: list[str] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    size: Literal["full", "smoke"] = "full"


@attrs.frozen(kw_only=True)
class StartOptions:
    """Where a backbone's start weights come from: `local`, a folder in timm's layout looked up under --weights, UDONX_WEIGHTS and the
    package's own; else `hub`, a tag of timm's; else, only if `random` says so, initialisation from the seed."""

    use: str = "timm"
    local: str | None = None
    hub: str | None = None
    random: bool = False


@attrs.frozen(kw_only=True)
class ResultOptions:
    """Sacred observers beside the file storage in the results folder: `mongodb://...` or SQLAlchemy URLs."""

    observers: list[str] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class FileOptions:
    """The plain keys of an experiment file. `inherit` is another experiment file, by its path from this one, whose keys and rows lie
    below this file's own; `roles` makes every row that names no backbone once for each of these backbones."""

    title: str = ""
    inherit: str | None = None
    roles: list[str] = attrs.field(factory=list)
    plugins: list[str] = attrs.field(factory=list)
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = attrs.field(factory=lambda: [0])


@attrs.frozen(kw_only=True)
class PlainKeys:
    """The plain keys of a row. `own_index` shows the figures of the own-domain index, each query searched in its own domain only, where
    the merged index would be shown."""

    label: str | None = None
    reference: bool = False
    backbone: str = "main"
    own_index: bool = False
    evaluate: Annotated[list[str], Field(min_length=1)] = attrs.field(factory=lambda: ["student"])
    precision: Literal["fp32", "bf16"] = "fp32"
    classifier: Literal["separate", "joint"] = "separate"
    normalise_total: bool = True
    distill_to_backbone: bool = True
    teacher_budget: Literal["equal_exposure", "full"] = "equal_exposure"


@attrs.frozen(kw_only=True)
class HeadSlot:
    """The own keys of a head slot."""

    use: str = "linear"
    dim: Annotated[int, Field(gt=0)]


@attrs.frozen(kw_only=True)
class LossSlot:
    """The own keys of a loss entry. `on` says which branch a classification loss looks at."""

    use: str
    weight: Annotated[float, Field(ge=0)] = 1.0
    on: Literal["teacher", "student"] | None = None


@attrs.frozen(kw_only=True)
class PlainSlot:
    """The own key of a slot that has no other."""

    use: str


TABLES: dict[str, type] = {
    "transform": Transform,
    "optimiser": Optimiser,
    "schedule": Schedule,
    "budget": Budget,
    "validation": Validation,
}
SLOT_KEYS: dict[str, tuple[str, type]] = {
    "scheme": ("schemes", PlainSlot),
    "student_head": ("heads", HeadSlot),
    "teacher_head": ("heads", HeadSlot),
    "sampler": ("samplers", PlainSlot),
}
COMMON = frozenset({"label", "reference", "own_index", "reported", "scheme", "backbone", "evaluate", "transform", "precision"})
ROW_KEYS = COMMON | set(TABLES) | set(SLOT_KEYS) | {"losses"} | {field.name for field in attrs.fields(PlainKeys)}
FILE_KEYS = frozenset({"title", "setting", "defaults", "rows", "plugins", "results", "seeds", "inherit", "roles"})
KIND_TABLES = ("heads", "losses", "samplers", "schemes")
VIEW = frozenset({"label", "reference", "own_index", "reported"})
"""Keys of a row that say how it is shown, and change nothing that is computed."""
SETTING_KEYS = frozenset({"inherit", "data", "backbones", *KIND_TABLES}) | (ROW_KEYS - VIEW - {"scheme"})

"""`[teachers]` of a row: the teachers that it names beside that of its scheme."""

from __future__ import annotations

from typing import Any

from registry.contracts import ComponentSpec, RowTeacher
from registry.registry import RegistryError
from udonx.common.words import dotted_key, format_value, unknown
from udonx.config import descriptions as components
from udonx.config.keys import TeacherOptions
from udonx.config.layers import RowLayers
from udonx.config.specs import spec_of
from udonx.config.typed import table_options, validate

ALL = "*"
"""What a loss says that learns from every named teacher."""


def read_teachers(row: RowLayers) -> tuple[RowTeacher, ...]:
    """The named teachers of a row; what is wrong with one is a problem of it."""
    given = row.merged.data.get("teachers", {})
    if not isinstance(given, dict):
        row.problem(
            "teachers",
            f"got {format_value(given)}, allowed are named tables, [rows.{row.name}.teachers.NAME]",
        )
        return ()
    found = [_teacher(row, name, value) for name, value in given.items()]
    return tuple(teacher for teacher in found if teacher is not None)


def _teacher(row: RowLayers, name: str, value: Any) -> RowTeacher | None:
    key = f"teachers.{name}"
    if name == ALL:
        row.problem(key, f'got the name "{ALL}", which stands for all teachers; give another')
        return None
    if not isinstance(value, dict):
        row.problem(
            key,
            f"got {format_value(value)}, allowed is a table, {{ row = ROW }} or"
            " { backbone = ROLE }",
        )
        return None
    own, found = validate(table_options(TeacherOptions), value)
    for option, message in found:
        row.problem(dotted_key(key, option), message)
    if found:
        return None
    if (own["row"] is None) == (own["backbone"] is None):
        got = "both" if own["row"] else "neither"
        row.problem(key, f"has {got} of `row` and `backbone`; allowed is one of them")
        return None
    if own["reads"] == "features" and own["adapter"] is None:
        row.problem(
            f"{key}.reads", 'got "features", which only an adapter is given; name one (`adapter`)'
        )
        return None
    if own["crop"] is not None and own["backbone"] is None:
        row.problem(f"{key}.crop", "is that of the row that teaches; leave it out")
        return None
    adapter = None
    if own["adapter"] is not None:
        adapter = _adapter(row, f"{key}.adapter", own["adapter"])
        if adapter is None:
            return None
    return RowTeacher(
        name=name,
        row=own["row"],
        backbone=own["backbone"],
        domains=None if own["domains"] is None else tuple(own["domains"]),
        crop=own["crop"],
        adapter=adapter,
        reads="features" if own["reads"] == "features" else None,
    )


def _adapter(row: RowLayers, key: str, value: str | dict[str, Any]) -> ComponentSpec | None:
    """The head by which the student answers; its length is that of the teacher."""
    options = {"use": value} if isinstance(value, str) else dict(value)
    use = options.pop("use", None)
    trained = [
        name
        for name in components.registry_of("heads").names()
        if not components.describe("heads", name).facts["fitted"]
    ]
    if use not in trained:
        what = unknown(str(use), trained, "head that is trained")
        row.problem(f"{key}.use", f"got {format_value(use)}, which is an {what}")
        return None
    if "dim" in options:
        row.problem(f"{key}.dim", "is that of the teacher; leave it out")
        return None
    component = components.describe("heads", use)
    given, found = validate(component.options, options)
    for name, message in found:
        row.problem(dotted_key(key, name), message)
    if found:
        return None
    try:
        return spec_of(component, given)
    except RegistryError as error:
        row.problem(key, str(error))
        return None


def teacher_to_plain(teacher: RowTeacher) -> dict[str, Any]:
    """A named teacher as TOML holds it."""
    plain: dict[str, Any] = {
        "row": teacher.row,
        "backbone": teacher.backbone,
        "domains": None if teacher.domains is None else list(teacher.domains),
        "crop": teacher.crop,
        "reads": teacher.reads,
    }
    if teacher.adapter is not None:
        plain["adapter"] = {"use": teacher.adapter.use, **teacher.adapter.options}
    return {key: value for key, value in plain.items() if value is not None}

"""The backbones of a setting: their components, and where their start weights come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from registry.registry import RegistryError
from udonx.common.words import dotted_key, format_value, unknown
from udonx.config import descriptions as components
from udonx.config.keys import StartOptions
from udonx.config.merge import Layer, Merged
from udonx.config.problems import Problem
from udonx.config.settings import merged_table
from udonx.config.specs import spec_of
from udonx.config.typed import table_options, validate


@attrs.frozen(kw_only=True)
class BackboneConfig:
    """One role of a setting: the component with its options, and where its start weights come from.

    Attributes:
        role: the name that rows know it by.
        use: the component's name in the registry.
        options: its options, complete.
        version: the component's own.
        source: the hash of its code; None for a component that ships with the project.
        files: the hashes of the files that its options name; None without any.
        local: a folder of start weights that must be there.
        hub: a tag of timm's weights.
        random: whether it starts from random weights.
        prefer: a folder of start weights that is taken in place of `hub` where it is there.
    """

    role: str
    use: str
    options: dict[str, Any]
    version: int
    local: str | None
    hub: str | None
    random: bool
    prefer: str | None = None
    source: str | None = None
    files: dict[str, str] | None = None


def read_backbones(layers: Iterable[Layer], problems: list[Problem]) -> dict[str, BackboneConfig]:
    """The backbones of a setting's layers by role.

    Those that have problems are left out; the problems are added to `problems`.
    """
    merged = merged_table(layers, "backbones")
    found = {}
    for role, value in merged.data.get("backbones", {}).items():
        before = len(problems)
        problems += _role_problems(role, value, merged)
        if len(problems) > before:
            continue
        own, given = _own_and_options(value)
        start = validate(table_options(StartOptions), own)[0]
        component = components.describe("backbones", start["use"])
        options = validate(component.options, given)[0]
        try:
            spec = spec_of(component, options)
        except RegistryError as error:
            problems.append(_problem(merged, f"backbones.{role}", str(error)))
            continue
        found[role] = BackboneConfig(
            role=role,
            local=start["local"] or None,  # `false` removes an inherited one
            hub=start["hub"] or None,
            random=start["random"],
            prefer=start["prefer"],
            **attrs.asdict(spec, recurse=False),
        )
    return found


def _own_and_options(value: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A role's keys, and the options of its component."""
    own = {option.name for option in table_options(StartOptions)}
    return (
        {name: item for name, item in value.items() if name in own},
        {name: item for name, item in value.items() if name not in own},
    )


def _role_problems(role: str, value: Any, merged: Merged) -> Iterator[Problem]:
    """What is wrong with one role."""
    for name, message in _complaints(value):
        yield _problem(merged, dotted_key("backbones", role, name), message)


def _problem(merged: Merged, key: str, message: str) -> Problem:
    """A problem at the layer that set the key, or the table around it."""
    return Problem(where=merged.where(key), key=key, message=message)


def _complaints(value: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with a role's table: pairs of a key and a sentence.

    Its own keys and the component's options are looked at, and where those are good, the component
    itself is asked.
    """
    if not isinstance(value, dict):
        yield "", f"got {format_value(value)}, allowed is a table"
        return
    own, given = _own_and_options(value)
    start, found = validate(table_options(StartOptions), own)
    use = value.get("use", StartOptions().use)
    names = components.registry_of("backbones").names()
    if use not in names:
        what = unknown(use, names, "component of backbones")
        yield "use", f"got {format_value(use)}, which is an {what}"
        return
    component = components.describe("backbones", use)
    options, more = validate(component.options, given)
    if found or more:
        yield from (*found, *more)
        return
    yield from components.own_problems("backbones", use, {**start, **options})

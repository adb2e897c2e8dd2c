"""What may stand in an experiment file: components, keys, and the JSON schema of it all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from registry.registry import Component, RegistryError
from udonx.config.descriptions import REGISTRIES, describe, registry_of
from udonx.config.plugins import load_plugins
from udonx.config.reference import Section, section, sections
from udonx.config.schema import experiment_schema, setting_schema


def components(
    kind: str | None = None, name: str | None = None, *, plugins: Iterable[str] = ()
) -> list[Component]:
    """What is registered: the components of all kinds, of one kind, or one of them.

    Args:
        kind: backbones, heads, inits, losses, samplers, updates, schemes and so on; default: all.
        name: one component of that kind.
        plugins: modules or .py files to import first.

    Raises:
        RegistryError: there is no such kind, or no such component.

    Example:
        >>> [component.name for component in components("losses", "ce")]
        ['ce']
    """
    load_plugins(plugins, None, where="--plugin")
    if kind and kind not in REGISTRIES and kind in sections():
        raise RegistryError(
            f"{kind!r} is no kind of component; there are {', '.join(REGISTRIES)}; for the"
            f" table of keys: udonx keys {kind}"
        )
    return [
        describe(each, one)
        for each in ([registry_of(kind).kind] if kind else REGISTRIES)
        for one in ([name] if name else registry_of(each).names())
    ]


def keys(name: str | None = None) -> list[Section]:
    """The keys of experiment files and settings, in tables that stand together.

    Args:
        name: one table: file, row, setting, optimiser, budget, ...; default: all.

    Raises:
        RegistryError: there is no such table.
    """
    return [section(name)] if name else list(sections().values())


def schema(
    of: Literal["experiment", "setting"] = "experiment", *, plugins: Iterable[str] = ()
) -> dict[str, Any]:
    """The JSON schema of an experiment file or of a setting, for editors.

    Args:
        of: which of the two.
        plugins: modules or .py files to import first, whose components are then in it.
    """
    load_plugins(plugins, None, where="--plugin")
    return setting_schema() if of == "setting" else experiment_schema()

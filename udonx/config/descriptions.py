"""Descriptions of registered components, cached: a check of an experiment needs no torch.

A built-in that imports torch is described once, and the description is kept as JSON under the cache
folder. Its key is the content of the component's source file and of the registry's own files, and
the versions of Python and of the libraries that its types come from. A stale or damaged entry is
rebuilt; an unwritable cache folder means no cache. Plug-ins are always imported: they are described
from the object.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import catalogue

from registry import (
    backbones,
    classifiers,
    heads,
    inits,
    losses,
    metrics,
    samplers,
    schemes,
    searches,
    sources,
    updates,
)
from registry.registry import Component, Names, Registry, RegistryError
from udonx.common.cache import JsonCache
from udonx.common.words import format_value

REGISTRIES: dict[str, Registry] = {
    module.registry.kind: module.registry
    for module in (
        backbones,
        heads,
        classifiers,
        inits,
        losses,
        samplers,
        schemes,
        metrics,
        sources,
        updates,
        searches,
    )
}
_TORCH_FREE = ("inits", "samplers", "schemes", "searches", "sources")


@attrs.frozen
class _Described:
    """A description that is kept, and what it was made from."""

    key: str
    component: Component


_descriptions = JsonCache("components.json", dict[str, _Described])
_memory: dict[str, _Described] = {}
_of_libraries = JsonCache("libraries.json", dict[str, dict[str, Names]])


def registry_of(kind: str) -> Registry:
    """The registry of a kind.

    Raises:
        RegistryError: there is no such kind; those that there are are listed.
    """
    if kind not in REGISTRIES:
        raise RegistryError(f"{kind!r} is no kind of component; there are {', '.join(REGISTRIES)}")
    return REGISTRIES[kind]


def is_builtin(kind: str, name: str) -> bool:
    """Whether a component ships with the project."""
    return name in registry_of(kind).builtin


def describe(kind: str, name: str) -> Component:
    """Options, facts and source of a component, from the cache where possible.

    Raises:
        RegistryError: there is no component of that name.
    """
    registry = registry_of(kind)
    imported = catalogue.check_exists("udonx", kind, name)
    if imported or kind in _TORCH_FREE or name not in registry.builtin:
        return registry.describe(name)
    module = registry.builtin[name]
    key = _key(module)
    if not _memory:
        _memory.update(_descriptions.read())
    kept = _memory.get(f"{kind}.{name}")
    if kept is None or kept.key != key:
        kept = _memory[f"{kind}.{name}"] = _Described(key, registry.describe(name))
        _descriptions.write({name: attrs.asdict(described) for name, described in _memory.items()})
    return attrs.evolve(kept.component, file=str(_origin(module)))


def own_problems(kind: str, name: str, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a component itself says is wrong with its options: things that their types do not tell.

    Nothing heavy is imported for a built-in.

    Args:
        kind: the component's kind.
        name: its name.
        options: its options, complete, and the keys of the slot that names it.

    Returns:
        (dotted key, sentence) of each.
    """
    try:
        found = registry_of(kind).problems(name, options, _remember)
    except Exception as error:  # a plug-in's own code
        why = f"which failed while its options were looked at: {type(error).__name__}: {error}"
        return [("use", f"got {format_value(name)}, {why}")]
    return [(key, f"got {format_value(_value_at(options, key))}, {why}") for key, why in found]


def _value_at(options: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    value: Any = options
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _remember(library: str, make: Callable[[], Names]) -> Names:
    """What `make` returns, kept for this version of a library, which is slow to import."""
    version = importlib.metadata.version(library)
    kept = _of_libraries.read().get(library, {})
    if version not in kept:
        kept = {version: make()}
        _of_libraries.write({**_of_libraries.read(), library: kept})
    return kept[version]


@functools.cache
def _origin(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise RegistryError(f"{module} has no file; install udonx again")
    return Path(spec.origin)


@functools.cache
def _key(module: str) -> str:
    digest = hashlib.sha256()
    own = Path(__file__).resolve().parents[2] / "registry"
    for path in (
        _origin(module),
        own / "registry.py",
        own / "options.py",
        *sorted((own / "contracts").glob("*.py")),
        own / module.split(".")[1] / "__init__.py",
    ):
        digest.update(path.read_bytes())
    versions = [
        sys.version,
        *(importlib.metadata.version(name) for name in ("pydantic", "attrs", "torch")),
    ]
    digest.update("\n".join(versions).encode())
    return digest.hexdigest()

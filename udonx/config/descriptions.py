"""Descriptions of registered components, cached so that checking an experiment needs neither torch
nor timm.

A built-in that imports torch is described once and the description is kept as JSON under the cache
folder, keyed by the content of its source file, of the registry's own files and by the versions of
Python and the libraries that its types come from. A stale or damaged entry is rebuilt; an
unwritable cache folder means no cache. Plug-ins are always imported: they are described from the
object.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import catalogue

from registry import backbones, heads, losses, metrics, samplers, schemes, sources
from registry.contracts import ComponentSpec, StageSpec
from registry.registry import Component, Names, Registry, RegistryError, location
from udonx.common.cache import JsonCache, cached_sha256
from udonx.common.files import write_atomic

REGISTRIES: dict[str, Registry] = {
    module.registry.kind: module.registry
    for module in (backbones, heads, losses, samplers, schemes, metrics, sources)
}
_TORCH_FREE = ("samplers", "schemes", "sources")


@attrs.frozen
class _Described:
    """A description that is kept, and what it was made from."""

    key: str
    component: Component


_descriptions = JsonCache("components.json", dict[str, _Described])
_memory: dict[str, _Described] = {}
_of_libraries = JsonCache("libraries.json", dict[str, dict[str, Names]])


def registry_of(kind: str) -> Registry:
    """The registry of a kind. Raises RegistryError that lists the kinds."""
    if kind not in REGISTRIES:
        raise RegistryError(f"{kind!r} is no kind of component; there are {', '.join(REGISTRIES)}")
    return REGISTRIES[kind]


def is_builtin(kind: str, name: str) -> bool:
    """Whether a component ships with the project."""
    return name in registry_of(kind).builtin


def describe(kind: str, name: str) -> Component:
    """Options, facts and source of a component, from the cache where possible. Raises RegistryError
    for an unknown name.
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


def source_hash(kind: str, name: str) -> str | None:
    """The identity of a component's source as it was imported, helpers included; None for a
    built-in, whose version says when it changes.

    Raises RegistryError where a file of it was edited since, and where it has neither file nor code
    that can be hashed.
    """
    source = registry_of(kind).source(name)
    if source is None:
        return None
    if edited := source.edited():
        raise RegistryError(
            f"{kind}: {name!r} was imported before {edited[0]} was edited; start Python again, or"
            " name its file as a plug-in, which is imported again where it was edited"
        )
    return source.sha256


def get(kind: str, spec: ComponentSpec) -> Any:
    """The class or function that a spec was made for.

    Raises RegistryError for an unknown name, and where the one that is registered has another
    source.
    """
    registry = registry_of(kind)
    target = registry.get(spec.use)
    source = registry.source(spec.use)
    if (
        source is not None
        and spec.source is not None
        and spec.source not in (source.sha256, source.own_sha256)
    ):
        raise RegistryError(
            f"{kind}: {spec.use!r} at {location(target)} is not what this stage is of: it, or a"
            " file that it imports, was edited since"
        )
    return target


def archive(spec: StageSpec, folder: Path) -> None:
    """Keep the source of a stage's components that do not ship with the project: the files that
    they were imported from, in `folder`.

    Files of one name and different content stand below folders called by their hash.
    """
    parts = [
        ("backbones", spec.backbone),
        ("heads", spec.student_head),
        ("heads", spec.teacher_head),
    ]
    if spec.training is not None:
        parts += [
            *(("losses", loss) for loss in spec.training.losses),
            ("samplers", spec.training.sampler),
        ]
    kept: dict[str, bytes] = {}
    for kind, part in parts:
        source = (
            registry_of(kind).source(part.use)
            if part is not None and part.source is not None
            else None
        )
        for name, (_, content) in source.files.items() if source else ():
            if kept.setdefault(name, content) != content:
                kept[f"{hashlib.sha256(content).hexdigest()[:8]}/{name}"] = content
    for name, content in kept.items():
        write_atomic(folder / name, content)


def spec_of(component: Component, options: Mapping[str, Any]) -> ComponentSpec:
    """A component with all of its options, known by its version, its source and its files.

    Raises:
        RegistryError: its source, or a file that an option names, cannot be had.
    """
    return ComponentSpec(
        use=component.name,
        options={name: value for name, value in options.items() if value is not None},
        version=component.version,
        source=source_hash(component.kind, component.name),
        files=option_files(component, options),
    )


def option_files(component: Component, values: Mapping[str, Any]) -> dict[str, str] | None:
    """What the files hold that an option of type Path names: their sha256 by the option's name; a
    folder counts with all files below it.

    None where there is no such option: for a built-in, and for most others. Raises RegistryError
    for a file that is not there.
    """
    hashes = {}
    for option in component.options:
        for number, path in enumerate(_paths(option.type, values.get(option.name))):
            if not path.exists():
                raise RegistryError(
                    f"got {path}, but there is no such file or folder; a path is as seen from"
                    f" {Path.cwd()}"
                )
            files = (
                sorted(file for file in path.rglob("*") if file.is_file())
                if path.is_dir()
                else [path]
            )
            listed = [(str(file.relative_to(path)), cached_sha256(file)) for file in files]
            hashes[f"{option.name}.{number}"] = hashlib.sha256(repr(listed).encode()).hexdigest()
    return hashes or None


def _paths(described: Mapping[str, Any], value: Any) -> Iterator[Path]:
    """The paths in the value of an option whose type is `described`."""
    kind = described["type"]
    if value is None:
        return
    if kind == "path":
        yield Path(value)
    elif (
        kind == "union" and {"type": "str"} not in described["of"]
    ):  # with text as the other choice, a text is taken for text
        for choice in described["of"]:
            if (choice["type"] == "path") == isinstance(value, str) and choice["type"] != "none":
                yield from _paths(choice, value)
    elif kind in ("list", "dict") and described["of"]:
        for item in value.values() if kind == "dict" else value:
            yield from _paths(described["of"], item)
    elif kind == "tuple":
        for choice, item in zip(described["of"], value, strict=True):
            yield from _paths(choice, item)


def own_problems(kind: str, name: str, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a component itself says is wrong with its options, as (key, what is wrong): things that
    their types do not tell. Nothing heavy is imported for a built-in.
    """
    return registry_of(kind).problems(name, options, _remember)


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
    return Path(importlib.util.find_spec(module).origin)


@functools.cache
def _key(module: str) -> str:
    digest = hashlib.sha256()
    own = Path(__file__).resolve().parents[2] / "registry"
    for path in (
        _origin(module),
        own / "registry.py",
        own / "options.py",
        own / "contracts.py",
        own / module.split(".")[1] / "__init__.py",
    ):
        digest.update(path.read_bytes())
    versions = [
        sys.version,
        *(importlib.metadata.version(name) for name in ("pydantic", "attrs", "torch")),
    ]
    digest.update("\n".join(versions).encode())
    return digest.hexdigest()

"""Components as specs: known by version, source and files.

They are turned back into their classes, and kept with what was made with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from registry.contracts import ComponentSpec, StageSpec
from registry.registry import Component, RegistryError, location
from udonx.common.cache import cached_sha256
from udonx.common.files import write_atomic
from udonx.config.descriptions import registry_of


def source_hash(kind: str, name: str) -> str | None:
    """The identity of a component's source as it was imported, helpers included.

    It is None for a built-in, whose version says when it changes.

    Raises:
        RegistryError: a file of it was edited since, or it has neither a file nor code that can be
            hashed.
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


def component_of(kind: str, spec: ComponentSpec) -> Any:
    """The class or function that a spec was made for.

    Raises:
        RegistryError: there is no component of that name, or it has another source.
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
    """Keep the source of a stage's components that do not ship with the project.

    `folder` gets the files that they were imported from.

    Files of one name and different content stand below folders called by their hash.
    """
    parts: list[tuple[str, ComponentSpec | None]] = [
        ("backbones", spec.backbone),
        ("heads", spec.student_head),
        ("heads", spec.teacher_head),
    ]
    parts.append(("inits", spec.init))
    heads = [head for head in (spec.student_head, spec.teacher_head) if head is not None]
    parts += [("classifiers", head.classifier) for head in heads]
    if spec.training is not None:
        parts += [
            *(("losses", loss) for loss in spec.training.losses),
            ("samplers", spec.training.sampler),
            ("updates", spec.training.update),
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
    """What the files hold that options of type Path name; a folder counts with all files below it.

    Returns:
        Their sha256 by the option's name; None where there is no such option, as for built-ins.

    Raises:
        RegistryError: a file is not there.
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

"""StageSpecs as plain data and back, and their identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import attrs
import cattrs

from registry.contracts import ComponentSpec, StageSpec, TeacherSpec

ENGINE_VERSION = 1
"""Raised when the engine's numbers change for every stage; a seeded curve in the tests notices."""

_converter = cattrs.Converter()
_converter.register_structure_hook(int | str, lambda value, _: value)


def _written(teacher: TeacherSpec, stage: Any) -> Any:
    """A teacher as plain data, around what stands for its stage.

    One that says nothing else is its stage alone: so were all teachers before they had a spec of
    their own.
    """
    rest = _converter.unstructure(attrs.asdict(teacher, recurse=False) | {"stage": None})
    if not any(value is not None for value in rest.values()):
        return stage
    return rest | {"stage": stage}


def _teacher(plain: dict[str, Any], _: type) -> TeacherSpec:
    """The teacher that `_written` was given."""
    if "stage" not in plain:
        return TeacherSpec(stage=_converter.structure(plain, StageSpec))
    domains, adapter = plain.get("domains"), plain.get("adapter")
    return TeacherSpec(
        stage=_converter.structure(plain["stage"], StageSpec),
        name=plain.get("name"),
        domains=None if domains is None else tuple(domains),
        adapter=None if adapter is None else _converter.structure(adapter, ComponentSpec),
        reads=plain.get("reads"),
    )


_converter.register_unstructure_hook(
    TeacherSpec, lambda teacher: _written(teacher, _converter.unstructure(teacher.stage))
)
_converter.register_structure_hook(TeacherSpec, _teacher)


def to_plain(spec: StageSpec) -> dict[str, Any]:
    """A spec as nested plain data.

    None is left out, so that a later option which defaults to None changes no identity.
    """
    return _without_none(_converter.unstructure(spec))


def from_plain(plain: dict[str, Any]) -> StageSpec:
    """The spec that `to_plain` was given."""
    return _converter.structure(plain, StageSpec)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value


def digest(value: Any) -> str:
    """sha256 of plain data in canonical JSON, cut to 16 hex digits.

    64 bits are enough for any number of stages that one person trains.
    """
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()[:16]


def stage_id(spec: StageSpec, manifest: Callable[[str], str]) -> str:
    """The identity of a stage.

    It follows from its canonical spec with earlier stages by id, its data and the engine's version.
    Start weights and component versions are part of the spec.

    Args:
        spec: the stage.
        manifest: the hash of a domain's training and validation files.
    """
    plain = to_plain(attrs.evolve(spec, teachers=(), init=None))
    plain["teachers"] = _without_none(
        [_written(teacher, stage_id(teacher.stage, manifest)) for teacher in spec.teachers]
    )
    if spec.init is not None:
        init = _without_none(_converter.unstructure(attrs.evolve(spec.init, stages=())))
        plain["init"] = {**init, "stages": [stage_id(one, manifest) for one in spec.init.stages]}
    return digest(
        {
            "spec": plain,
            "data": {domain: manifest(domain) for domain in spec.domains},
            "engine": ENGINE_VERSION,
        }
    )

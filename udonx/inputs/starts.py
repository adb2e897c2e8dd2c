"""Rows that cannot start from others, as far as that can be told without building a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from registry.contracts import HeadSpec
from udonx.common.words import format_value
from udonx.config import descriptions as components
from udonx.config.backbones import BackboneConfig
from udonx.config.problems import Problem
from udonx.config.rows import RowConfig


@attrs.frozen
class _Compared:
    """The keys of a row in which an init may want its sources to agree, in words.

    Attributes:
        domains: those that it trains on, in alphabetical order.
        backbone: the component, with its model where it has one.
        student_head: the component with its dimension; None where the head is not trained.
    """

    domains: str
    backbone: str
    student_head: str | None

    @classmethod
    def of(
        cls, row: RowConfig, backbones: Mapping[str, BackboneConfig], domains: Sequence[str]
    ) -> _Compared:
        """Those of a row on data of these domains."""
        return cls(
            domains=", ".join(sorted(row.spec.domains or domains)),
            backbone=_backbone(backbones[row.backbone]),
            student_head=_trained_head(row.spec.student_head),
        )


def start_problems(
    where: str,
    rows: Sequence[RowConfig],
    backbones: Mapping[str, BackboneConfig],
    domains: Sequence[str],
) -> Iterator[Problem]:
    """Rows whose sources differ from them in what their init wants alike.

    Args:
        where: the place that problems name.
        rows: rows with all that they start from.
        backbones: those of the setting, by role.
        domains: of the data.
    """
    known = {row.name: row for row in rows if not row.skipped and row.backbone in backbones}
    for row in known.values():
        init = row.spec.recipe and row.spec.recipe.init
        if not init:
            continue
        own = _Compared.of(row, backbones, domains)
        for source in (known[name] for name in row.sources if name in known):
            its = _Compared.of(source, backbones, domains)
            for key in components.describe("inits", init.use).facts["agreed"]:
                here, there = getattr(own, key), getattr(its, key)
                if here is not None and here != there:
                    message = (
                        f"got {format_value(source.name)}, which has {key} {there or 'none'}; this"
                        f" row has {here}, and '{init.use}' needs both alike; {_cure(key)}"
                    )
                    yield Problem(where=where, rows=(row.name,), key="init.from", message=message)


def _cure(key: str) -> str:
    others = [
        name
        for name in components.registry_of("inits").names()
        if key not in components.describe("inits", name).facts["agreed"]
    ]
    hint = f", or take an init that needs it not: {', '.join(others)}" if others else ""
    return f"name another row{hint}"


def _backbone(backbone: BackboneConfig) -> str:
    """A component of the registry, and the model of a library that it builds."""
    model = backbone.options.get("model")
    return backbone.use if model is None else str(model).partition(".")[0]


def _trained_head(head: HeadSpec | None) -> str | None:
    if head is None or components.describe("heads", head.use).facts["fitted"]:
        return None
    return f"{head.use} of {head.dim} dimensions"

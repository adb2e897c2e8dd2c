"""`reported`: figures of a row from elsewhere, such as a paper, for a line beside its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from registry.options import Option, type_of
from udonx.common.words import dotted_key
from udonx.config.descriptions import registry_of
from udonx.config.keys import Percent, ReportedOptions
from udonx.config.layers import RowLayers
from udonx.config.typed import table_options, validate


@attrs.frozen(kw_only=True)
class Reported:
    """Figures of a row from elsewhere, as fractions.

    Attributes:
        source: where they stand; empty where the file does not say it.
        means: by the metric's name its mean over domains.
        per_domain: by the metric's name its value of each domain.
    """

    source: str
    means: dict[str, float]
    per_domain: dict[str, dict[str, float]]


def read_reported(row: RowLayers) -> Reported | None:
    """The `reported` of a row; None where it has none, or a wrong one, which is a problem of it."""
    given = row.merged.data.get("reported")
    if given is None:
        return None
    metrics = metric_options()
    plain, found = validate((*table_options(ReportedOptions), *metrics), given)
    _report(row, "reported", found)
    domains = {}
    for domain, figures in (plain.get("domains") or {}).items():
        domains[domain], found = validate(metrics, figures)
        _report(row, f"reported.domains.{domain}", found)
    if "reported" in row.broken:
        return None
    names = [option.name for option in metrics]
    per_domain = {name: _fractions(_of_metric(domains, name)) for name in names}
    return Reported(
        source=plain["source"],
        means=_fractions({name: plain[name] for name in names}),
        per_domain={name: figures for name, figures in per_domain.items() if figures},
    )


def metric_options() -> tuple[Option, ...]:
    """A percentage for each registered metric."""
    percent = type_of(Percent)
    doc = "This metric as its source reports it, the mean over domains."
    names = registry_of("metrics").names()
    return tuple(
        Option(name=name, type=percent, required=False, doc=doc, unit="per cent") for name in names
    )


def _report(row: RowLayers, place: str, found: list[tuple[str, str]]) -> None:
    for key, message in found:
        row.problem(dotted_key(place, key), message)


def _of_metric(domains: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, float | None]:
    return {domain: figures.get(metric) for domain, figures in domains.items()}


def _fractions(percents: Mapping[str, float | None]) -> dict[str, float]:
    """Percentages as fractions, without those that are not given."""
    return {name: value / 100 for name, value in percents.items() if value is not None}

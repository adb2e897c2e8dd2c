"""Learning curves of a table's rows: mean and spread over seeds, from the logs of their stages."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from udonx.common.files import DamagedFileError
from udonx.reports.source import TableSource
from udonx.tables.content import TableRow

MEAN = "mean over domains"
"""The validation curve over all domains."""
TOTAL = "total"
"""The loss term that is minimised: the weighted sum of the others."""
_MOST_POINTS = 100  # of a curve; a page must not grow with the budget

_Series = dict[tuple[str, str], dict[int, float]]


@attrs.frozen
class Curve:
    """A figure over steps.

    Attributes:
        steps: increasing.
        mean: over seeds, one for each step.
        deviation: the sample standard deviation over seeds; 0 for one seed.
    """

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@attrs.frozen(kw_only=True)
class RowCurves:
    """The curves of one row.

    Attributes:
        position: of the row in its table.
        losses: by the term's name, `TOTAL` last.
        validation: R@1 on the validation splits, by domain, `MEAN` first.
        shares: of the steps, by domain; empty where the sampler keeps none.
        signals: by domain the mean loss that the sampler has followed; empty where it is not kept.
    """

    position: int
    losses: Mapping[str, Curve]
    validation: Mapping[str, Curve]
    shares: Mapping[str, Curve]
    signals: Mapping[str, Curve]


def read_curves(source: TableSource) -> tuple[list[RowCurves], list[str]]:
    """The curves of the rows that have any, and sentences on what is not there."""
    found, notes, without = [], [], []
    for position, row in enumerate(source.table.rows):
        try:
            seeds = [_read_seed(source, each, row) for each in row.evaluations]
        except DamagedFileError as error:
            notes.append(f"{row.label}: no curves, since {error}.")
            continue
        curves = _mean_curves(seeds)
        if not curves:
            without.append(row.label)
            continue
        losses, validation = _named(curves, "loss"), _named(curves, "validation")
        found.append(
            RowCurves(
                position=position,
                losses=_moved(losses, TOTAL, to_end=True),
                validation=_moved(validation, MEAN, to_end=False),
                shares=_named(curves, "share"),
                signals=_named(curves, "signal"),
            )
        )
    if without:
        notes.append(
            "No curves, since nothing was trained in the stage that is evaluated or its log is"
            f" gone: {'; '.join(without)}."
        )
    return found, notes


def evaluated_stages(source: TableSource, evaluation: str, row: TableRow) -> list[str]:
    """The ids of the stages whose models an evaluation has used.

    Where the evaluation cannot be read, it is the last stage of the row.

    Raises:
        DamagedFileError: its metrics.json is damaged.
    """
    stored = source.results.read_evaluation(evaluation)
    return list(dict.fromkeys(stored.stages.values())) if stored else list(row.stages[-1:])


def _read_seed(source: TableSource, evaluation: str, row: TableRow) -> _Series:
    """The figures of one seed; where several stages embed, their mean at each step."""
    values: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for stage in evaluated_stages(source, evaluation, row):
        for entry in source.results.stage(stage).read_log():
            step = entry.get("step")
            for key, value in _figures(entry):
                if isinstance(step, int) and _is_finite(value):
                    values[key][step].append(value)
    return {
        key: {step: statistics.fmean(each) for step, each in sorted(by_step.items())}
        for key, by_step in values.items()
    }


def _figures(entry: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Any]]:
    """What a line of log.jsonl holds, by kind and name."""
    if "total" in entry:
        yield ("loss", TOTAL), entry["total"]
    for kind, key in (("loss", "losses"), ("share", "shares"), ("signal", "signal")):
        for name, value in _mapping(entry.get(key)).items():
            yield (kind, name), value
    validation = _mapping(entry.get("validation"))
    if "r1" in validation:
        yield ("validation", MEAN), validation["r1"]
    for domain, value in _mapping(validation.get("per_domain")).items():
        yield ("validation", domain), value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _mean_curves(seeds: Sequence[_Series]) -> dict[tuple[str, str], Curve]:
    """Curves over seeds, in the order in which the logs name them."""
    keys = dict.fromkeys(key for series in seeds for key in series)
    return {key: _curve([series[key] for series in seeds if key in series]) for key in keys}


def _curve(seeds: Sequence[Mapping[int, float]]) -> Curve:
    steps = sorted({step for values in seeds for step in values})
    points = [[values[step] for values in seeds if step in values] for step in steps]
    deviation = [statistics.stdev(each) if len(each) > 1 else 0.0 for each in points]
    return thin_out(Curve(tuple(steps), tuple(map(statistics.fmean, points)), tuple(deviation)))


def thin_out(curve: Curve, most: int = _MOST_POINTS) -> Curve:
    """A curve of at most `most` points: neighbours become their mean.

    >>> thin_out(Curve((1, 2, 3, 4), (1.0, 3.0, 5.0, 7.0), (0.0,) * 4), 2)
    Curve(steps=(2, 4), mean=(2.0, 6.0), deviation=(0.0, 0.0))
    """
    size = math.ceil(len(curve.steps) / most)
    if size <= 1:
        return curve

    def means(values: Sequence[float]) -> tuple[float, ...]:
        starts = range(0, len(values), size)
        return tuple(statistics.fmean(values[start : start + size]) for start in starts)

    lasts = range(size - 1, len(curve.steps) + size - 1, size)
    steps = tuple(curve.steps[min(last, len(curve.steps) - 1)] for last in lasts)
    return Curve(steps, means(curve.mean), means(curve.deviation))


def _named(curves: Mapping[tuple[str, str], Curve], kind: str) -> dict[str, Curve]:
    return {name: curve for (of, name), curve in curves.items() if of == kind}


def _moved(curves: dict[str, Curve], name: str, *, to_end: bool) -> dict[str, Curve]:
    """The same curves, one of them first or last."""
    others: Iterable[tuple[str, Curve]] = ((key, c) for key, c in curves.items() if key != name)
    one = [(name, curves[name])] if name in curves else []
    return dict([*others, *one] if to_end else [*one, *others])

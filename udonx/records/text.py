"""Runs on the screen: a list, one run, the difference of two, and what is removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from udonx.common.grid import WIDTH, align, widths
from udonx.common.words import clock, format_value, plural, printable
from udonx.records.diff import Change, RunDiff, metric_names
from udonx.records.removal import Removal
from udonx.records.runs import RunInfo
from udonx.records.stages import StageInfo

_HEADER = ("id", "experiment", "row", "seed", "state", "R@1", "min", "when", "stage")
_TO_THE_RIGHT = {"id", "seed", "R@1", "min"}
_NARROWEST = 12  # of the columns that are cut where a line is too long
_CUT = (1, 2)


def list_text(runs: Sequence[RunInfo]) -> str:
    """A line for each run, then why some are not done, and how many there are of each state."""
    if not runs:
        return "no run"
    lines = [list(_HEADER), *map(_cells, runs)]
    room = _fitted(widths(lines))
    shown = [_aligned(line, room) for line in lines]
    notes = [note for run in runs for note in _notes(run)]
    states = ", ".join(
        f"{count} {state}" for state, count in Counter(r.state for r in runs).items()
    )
    return "\n".join([*shown, *notes, f"{plural(len(runs), 'run')}: {states}"])


def _cells(run: RunInfo) -> list[str]:
    return [
        run.id,
        f"{run.experiment} {run.setting}",
        run.row,
        "-" if run.seed is None else str(run.seed),
        run.state,
        "-" if run.r1 is None else f"{100 * run.r1:.1f}",
        "-" if run.minutes is None else f"{run.minutes:.1f}",
        run.when.replace("T", " ")[:16] or "-",
        run.stages[-1].id[:8] if run.stages else "-",
    ]


def _fitted(wide: list[int]) -> list[int]:
    """Widths with the columns of names cut until a line fits the screen."""
    wide = list(wide)
    while sum(wide) + len(wide) - 1 > WIDTH and any(wide[one] > _NARROWEST for one in _CUT):
        widest = max(_CUT, key=lambda one: wide[one])
        wide[widest] -= 1
    return wide


def _aligned(line: Sequence[str], room: Sequence[int]) -> str:
    cells = [
        align([cell], [width], left=int(name not in _TO_THE_RIGHT), mark="…")
        for name, cell, width in zip(_HEADER, line, room, strict=True)
    ]
    return " ".join(cells).rstrip()


def _notes(run: RunInfo) -> Iterator[str]:
    """Why a run is not done, and the command that goes on with it."""
    if run.why:
        yield f"{run.id} ({run.row}) {run.state}: {run.why}"
        if run.command:
            yield f"    go on: {run.command}"


def show_text(run: RunInfo, tables: Iterable[str] = ()) -> str:
    """Everything about one run, without the resolved row, which `--json` has.

    Args:
        run: the run.
        tables: the folders of the stored tables that show it.
    """
    sacred = run.sacred
    facts = {
        "run": f"{run.id}: {run.title}",
        "state": run.state,
        "why": run.why,
        "go on": run.command if run.why else "",
        "command": "" if run.why else run.command,
        "started": run.when.replace("T", " "),
        "attempts": ", ".join(run.attempts) if len(run.attempts) > 1 else "",
        "minutes": "" if run.minutes is None else clock(60 * run.minutes),
        "tables": ", ".join(tables),
    }
    if sacred is not None:
        config = sacred.config
        facts |= {
            "versions": _pairs(config.get("versions")),
            "device": str(config.get("device") or ""),
            "machine": _pairs({name: sacred.host.get(name) for name in ("hostname", "cpu")}),
            "data": _pairs(config.get("data")),
            "commit": _pairs(config.get("git")),
            "sacred": f"sacred/{sacred.id}",
        }
    wide = max(map(len, facts))
    lines = [f"{name:<{wide}}  {text}" for name, text in facts.items() if text]
    lines += ["", *_stage_lines(run.stages)]
    if figures := list(_figure_lines(run)):
        lines += ["", *figures]
    return "\n".join(map(printable, lines))


def _pairs(table: Any) -> str:
    """A table in one line; empty where there is none."""
    items = table.items() if isinstance(table, dict) else ()
    return ", ".join(f"{name} {value}" for name, value in items if value not in (None, ""))


def _stage_lines(stages: Sequence[StageInfo]) -> Iterator[str]:
    header = ["stage", "what", "state", "steps", "best", "val R@1", "min", "size"]
    lines = [header]
    for stage in stages:
        steps = "-" if stage.step is None else str(stage.step)
        lines.append(
            [
                stage.id,
                stage.title,
                stage.state,
                f"{steps}/{stage.steps}" if stage.steps else steps,
                "-" if stage.best_step is None else str(stage.best_step),
                "-" if stage.best_r1 is None else f"{100 * stage.best_r1:.1f}",
                "-" if stage.minutes is None else f"{stage.minutes:.1f}",
                format_size(stage.bytes),
            ]
        )
    room = widths(lines)
    return (align(line, room, left=3).rstrip() for line in lines)


def _figure_lines(run: RunInfo) -> Iterator[str]:
    """The metrics of each branch and index in per cent: means, then those of each domain."""
    for branch, stored in run.results.items():
        for index in ("merged", "own"):
            figures = stored.get(index) or {}
            names, domains = metric_names(figures), figures.get("per_domain") or {}
            lines = [[f"{branch}, {index} index", *names]]
            lines += [["mean", *(_percent(figures[name]) for name in names)]]
            lines += [
                [domain, *(_percent(values.get(name)) for name in names)]
                for domain, values in domains.items()
            ]
            if names:
                room = widths(lines)
                yield from (align(line, room, left=1).rstrip() for line in lines)


def _percent(value: Any) -> str:
    return f"{100 * value:.1f}" if isinstance(value, int | float) else "-"


def diff_text(diff: RunDiff) -> str:
    """What differs, section by section.

    Figures stand whether they differ or not: those of the merged index, where there are some.
    """
    lines = [
        f"{name}: {run.id}: {run.title}" for name, run in (("a", diff.first), ("b", diff.second))
    ]
    for name, changes in (
        ("config", diff.config),
        ("data", diff.data),
        ("versions", diff.versions),
    ):
        lines += ["", f"{name}:{'' if changes else ' the same'}"]
        for change in changes:
            lines.append(f"  {change.key}: {_value(change.first)} -> {_value(change.second)}")
    merged = [change for change in diff.metrics if ".merged." in change.key]
    metrics = merged or diff.metrics
    lines += ["", f"metrics:{'' if metrics else ' none'}", *_metric_lines(metrics)]
    return "\n".join(map(printable, lines))


def _value(value: Any) -> str:
    return "-" if value is None else format_value(value)


def _metric_lines(changes: Sequence[Change]) -> Iterator[str]:
    """The figures of both runs in per cent, and the difference in points."""
    lines = [["", "a", "b", "b - a"]]
    for change in changes:
        both = change.first is not None and change.second is not None
        difference = f"{100 * (change.second - change.first):+.1f}" if both else ""
        lines.append([change.key, _percent(change.first), _percent(change.second), difference])
    room = widths(lines)
    return (f"  {align(line, room, left=1).rstrip()}" for line in lines if changes)


def removal_text(removal: Removal) -> str:
    """What goes with its sizes, and what stays with the reason."""
    lines = [f"remove run {run.id}: {run.title} ({run.state})" for run in removal.runs]
    lines += [
        f"remove stage {one.id}: {one.title}, {format_size(one.bytes)}" for one in removal.stages
    ]
    lines += [
        f"remove evaluation {one.id}: of {one.row or 'no row'}, {format_size(one.bytes)}"
        for one in removal.evaluations
    ]
    lines += [f"keep stage {one.stage.id}: {one.stage.title}, {one.why}" for one in removal.kept]
    return "\n".join(lines)


def removal_sum(removal: Removal) -> str:
    """How much goes, in words.

    It is such as `1 run, 2 stages, 3 evaluations, 12.5 MB`.
    """
    parts = (
        plural(len(removal.runs), "run"),
        plural(len(removal.stages), "stage"),
        plural(len(removal.evaluations), "evaluation"),
    )
    return f"{', '.join(parts)}, {format_size(removal.bytes)}"


def format_size(count: int) -> str:
    """Bytes as people say them.

    >>> format_size(12), format_size(93_400_000), format_size(1_500_000_000)
    ('12 B', '93.4 MB', '1.5 GB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"

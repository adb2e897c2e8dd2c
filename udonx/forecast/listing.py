"""The stages of one or more plans as text, with an estimate of time: what `udonx plan` prints."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from udonx.common.grid import align, fit, widths
from udonx.common.words import roughly
from udonx.forecast.costs import Timings
from udonx.forecast.remaining import PlannedStage, Workload
from udonx.planning.stages import stage_title

_HEADER = ["stage", "what", "seed", "state", "steps", "images", "time left"]
_WIDTHS = [16, 25, 4, 8, 7, 9, 9]  # figures that need more get it
_GROUPS = (slice(0, 1), slice(1, 3), slice(3, 7))


@attrs.frozen
class Listing:
    """The stages of some plans, with an estimate of time; `str()` is what `udonx plan` prints.

    Attributes:
        todo: the stages, and what is left of them.
        timings: what work costs on the device that the estimate is for.
    """

    todo: Workload
    timings: Timings

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int = 120) -> str:
        """What `udonx plan` prints of the stages and of the time that is left.

        A line per stage: id, what it is, state, steps, images, time left, the rows that use it.
        Then what is left to train, and how long that and the evaluations take. What a process needs
        to start is not in the estimate.

        Args:
            width: columns; of the rows as many are named as fit.
        """
        todo, timings = self.todo, self.timings
        seconds = {stage.id: timings.seconds(stage.work) for stage in todo.stages}
        evaluations = [timings.seconds(work) for work in todo.evaluations]
        cells = [_cells(stage, seconds[stage.id]) for stage in todo.stages]
        header, *table = _align([_HEADER, *cells])
        lines = [
            f"{header}  rows",
            *(
                _with_rows(line, stage, width)
                for line, stage in zip(table, todo.stages, strict=True)
            ),
            *todo.skipped,
            *todo.damaged,
        ]
        unknown = [list(seconds.values()).count(None), evaluations.count(None)]
        if any(unknown):
            lines.append(_no_estimate(unknown[0], unknown[1], timings.device))
        total = _total([*seconds.values()], evaluations, timings.device)
        return "\n".join([*lines, f"{_left(todo)}{total}"])


def _left(todo: Workload) -> str:
    """How many stages there are, and how many of them are left to train."""
    left = [stage for stage in todo.stages if stage.state not in ("trained", "damaged")]
    trained = sum(stage.state == "trained" for stage in todo.stages)
    damaged = f", {len(todo.damaged)} damaged" if todo.damaged else ""
    steps = _count(sum(stage.steps_left for stage in left), "step")
    images = _count(sum(stage.images_left for stage in left), "image")
    return (
        f"{_stages(len(todo.stages))}, {trained} already trained{damaged};"
        f" left to train: {_stages(len(left))}, {steps}, {images}"
    )


def _stages(count: int) -> str:
    return _count(count, "stage")


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _cells(stage: PlannedStage, seconds: float | None) -> list[str]:
    seed = "-" if stage.spec.seed is None else str(stage.spec.seed)
    time = "?" if seconds is None else roughly(seconds) if seconds else "-"
    what = fit(stage_title(stage.spec), _WIDTHS[1])
    return [stage.id, what, seed, stage.state, str(stage.steps), str(stage.images), time]


def _align(lines: Sequence[list[str]]) -> list[str]:
    """The lines in columns; the first column of each group stands to the left."""
    columns = [max(pair) for pair in zip(_WIDTHS, widths(lines), strict=True)]
    return [
        "  ".join(align(line[group], columns[group], left=1) for group in _GROUPS) for line in lines
    ]


def _with_rows(line: str, stage: PlannedStage, width: int) -> str:
    shared = "(shared) " if len(stage.users) > 1 else ""
    line = f"{line}  {shared}"
    return line + _named(stage.users, width - len(line))


def _named(names: Sequence[str], width: int) -> str:
    """As many of the names as fit, one at least, and how many more there are.

    >>> _named(["baseline", "udon", "teachers"], 22), _named(["baseline", "udon", "teachers"], 24)
    ('baseline and 2 more', 'baseline, udon, teachers')
    """
    for count in range(len(names), 1, -1):
        text = ", ".join(names[:count]) + (
            f" and {len(names) - count} more" if count < len(names) else ""
        )
        if len(text) <= width:
            return text
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _total(stages: Sequence[float | None], evaluations: Sequence[float | None], device: str) -> str:
    known = sum(seconds for seconds in (*stages, *evaluations) if seconds)
    if not known:
        return ""
    about = "more than" if None in stages or None in evaluations else "about"
    included = " (evaluations included)" if any(evaluations) else ""
    return f", {about} {roughly(known)} on {device}{included}"


def _no_estimate(stages: int, evaluations: int, device: str) -> str:
    what = [f"{_stages(stages)} (marked ?)"] if stages else []
    what += [_count(evaluations, "evaluation")] if evaluations else []
    cure = "`udonx plan ... --measure` times a few steps of each kind"
    return (
        f"no estimate for {' and '.join(what)}: nothing like that has run on this machine"
        f" ({device}) yet; {cure}"
    )

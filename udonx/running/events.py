"""What happens while experiments run, as plain data: for the live view, for JSON, for programs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import attrs

RowState = Literal["waiting", "running", "done", "reused", "failed"]


@attrs.frozen(kw_only=True)
class RowId:
    """One row for one seed.

    Attributes:
        table: name of the experiment.
        row: name of the row.
        seed: None where nothing is random.
        title: what people read.
    """

    table: str
    row: str
    seed: int | None
    title: str


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened; `name` says what.

    Attributes:
        name: the value of `event` in JSON.
    """

    name: ClassVar[str]

    def to_json(self) -> str:
        """One line: the name, the time (UTC, ISO 8601) and the fields; null for NaN."""
        content = {
            "event": self.name,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **attrs.asdict(self),
        }
        return json.dumps(without_nan(content), allow_nan=False)


Listener = Callable[[Event], None]


@attrs.frozen(kw_only=True)
class RunBegun(Event):
    """All is checked, and the first row begins.

    Attributes:
        rows: all rows, in their order.
        seconds_left: how long all of them take; None where that is not known.
    """

    name = "begin"

    rows: tuple[RowId, ...]
    seconds_left: float | None


@attrs.frozen(kw_only=True)
class RowChanged(Event):
    """A row has another state.

    Attributes:
        row: which.
        state: `reused`: all of it was there. `waiting`: also for a stage of another process.
        why: why it failed, or what it waits for.
        r1: its R@1 in the merged index, the first branch's; None before it is done.
    """

    name = "row"

    row: RowId
    state: RowState
    why: str = ""
    r1: float | None = None


@attrs.frozen(kw_only=True)
class StageBegun(Event):
    """A stage begins to train, or goes on.

    Attributes:
        row: the row that needs it.
        stage: its id.
        title: what it is, in a few words.
        steps: of its whole budget; 0 where it is only fitted.
    """

    name = "stage"

    row: RowId
    stage: str
    title: str
    steps: int


@attrs.frozen(kw_only=True)
class StepsDone(Event):
    """A line of a stage's log: the mean losses since the line before.

    Attributes:
        row: the row that needs the stage.
        stage: its id.
        step: steps that are done.
        steps: of its whole budget.
        loss: what is minimised.
        losses: every loss by name, unweighted.
        shares: each domain's share of the batches.
        images_per_second: images that were trained on.
        row_seconds_left: how long the row takes from here on; None where that is not known.
        seconds_left: how long all rows take from here on; None where that is not known.
    """

    name = "steps"

    row: RowId
    stage: str
    step: int
    steps: int
    loss: float
    losses: dict[str, float]
    shares: dict[str, float]
    images_per_second: float
    row_seconds_left: float | None
    seconds_left: float | None


@attrs.frozen(kw_only=True)
class StageValidated(Event):
    """A stage was measured on its validation images.

    Attributes:
        row: the row that needs it.
        stage: its id.
        step: steps that it has been trained.
        metrics: the means over domains.
        per_domain: R@1 of each domain.
    """

    name = "validation"

    row: RowId
    stage: str
    step: int
    metrics: dict[str, float]
    per_domain: dict[str, float]


@attrs.frozen(kw_only=True)
class StageEnded(Event):
    """A stage is trained.

    Attributes:
        row: the row that needs it.
        stage: its id.
    """

    name = "stage_end"

    row: RowId
    stage: str


@attrs.frozen(kw_only=True)
class EvaluationEnded(Event):
    """The test images of an evaluation were searched.

    Attributes:
        row: the row that it is of.
        evaluation: its id.
        branch: what embedded: `student`, `teacher` or `feature`.
        metrics: the means over domains.
    """

    name = "evaluation"

    row: RowId
    evaluation: str
    branch: str
    metrics: dict[str, float]


@attrs.frozen(kw_only=True)
class TableEnded(Event):
    """All rows of a table have ended.

    Attributes:
        table: name of the experiment.
        folder: where the table is kept.
        content: what table.json holds.
    """

    name = "table"

    table: str
    folder: str
    content: dict[str, Any]


def ignore(event: Event) -> None:
    """Listen to nothing."""


def without_nan(value: Any) -> Any:
    """Plain data in which None stands for what JSON has no number for.

    >>> without_nan({"a": [1.0, float("nan")], "b": float("inf")})
    {'a': [1.0, None], 'b': None}
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""The runs of a results folder: each row and seed that was started, with its state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import attrs

from udonx.common.files import DamagedFileError
from udonx.common.json_files import read_json
from udonx.common.words import printable
from udonx.records.sacred import SacredRun, read_sacred
from udonx.records.stages import StageInfo, read_stage
from udonx.store.runs import Run, read_runs

State = Literal["running", "done", "failed", "interrupted"]


@attrs.frozen(kw_only=True)
class RunInfo:
    """A row for one seed that was started, once or several times.

    Attributes:
        id: the number of its last Sacred run, or the id of its last stage where it has none.
        experiment: the name of the experiment file.
        setting: the setting, with a short hash where data, weights or `--set` make it another
            question; the folder of its table is `tables/EXPERIMENT/SETTING`.
        row: the name of the row.
        seed: the training seed; None where nothing in it is random.
        state: what became of it.
        why: why it failed or was interrupted, and how far it was; empty for others.
        command: the command that goes on with it; empty where it is not known.
        r1: its R@1, a fraction; None where it has none yet.
        minutes: that its finished stages took; None where none is.
        when: when it was last started, in local time.
        stages: those that it needs, in the order in which they are trained.
        attempts: the numbers of its Sacred runs, earliest first.
        results: the figures of each branch as metrics.json has them; empty where there are none.
        sacred: its last Sacred run; None where it has none.
    """

    id: str
    experiment: str = attrs.field(converter=printable)
    setting: str = attrs.field(converter=printable)
    row: str = attrs.field(converter=printable)
    seed: int | None
    state: State
    why: str = ""
    command: str = ""
    r1: float | None = None
    minutes: float | None = None
    when: str = attrs.field(default="", converter=printable)
    stages: tuple[StageInfo, ...] = ()
    attempts: tuple[str, ...] = ()
    results: dict[str, Any] = attrs.field(factory=dict, repr=False)
    sacred: SacredRun | None = attrs.field(default=None, repr=False)

    @property
    def title(self) -> str:
        """The run in words."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.experiment} {self.setting}: {self.row}{seed}"

    @property
    def question(self) -> tuple[str, str]:
        """The folder of its table below `tables/`: file and setting."""
        return self.experiment, self.setting

    def to_plain(self) -> dict[str, Any]:
        """Everything but the Sacred run, as JSON has it."""
        return attrs.asdict(self, filter=lambda field, _: field.name != "sacred")


def read_all(results: Path) -> list[RunInfo]:
    """Every run of a results folder, in the order in which they were last started."""
    lines, _ = read_runs(results / "runs.jsonl")
    attempts: dict[tuple[Any, ...], list[Run]] = {}
    for line in lines:
        # the last of several counts: so it is put behind the others
        key = (line.file, line.setting, line.row, line.seed, line.stages)
        attempts[key] = [*attempts.pop(key, []), line]
    reader = _Reader(results)
    return [reader.read(runs) for runs in attempts.values()]


@attrs.define(slots=False)
class _Reader:
    """Reads the runs of one results folder, each stage once.

    Attributes:
        results: the results folder.
    """

    results: Path
    _stages: dict[str, StageInfo] = attrs.field(factory=dict, init=False)

    def read(self, runs: list[Run]) -> RunInfo:
        """A run from its lines of runs.jsonl, earliest first."""
        last = runs[-1]
        attempts = [run.sacred_id for run in runs if run.sacred_id is not None]
        folders = (self.results / "sacred" / attempt for attempt in attempts)
        records = [record for folder in folders if (record := read_sacred(folder)) is not None]
        stages = tuple(map(self._stage, last.stages))
        completed = [record for record in records if record.result]
        results = completed[-1].result if completed else self._evaluated(last)
        record = records[-1] if records else None
        state, why = _state(stages, record, self._gone(results))
        minutes = [stage.minutes for stage in stages if stage.minutes is not None]
        return RunInfo(
            id=attempts[-1] if attempts else last.stages[-1],
            experiment=last.file,
            setting=last.setting,
            row=last.row,
            seed=last.seed,
            state=state,
            why=why,
            command=record.command if record else "",
            r1=_r1(results, record),
            minutes=sum(minutes) if minutes else None,
            when=last.time,
            stages=stages,
            attempts=tuple(attempts),
            results=results,
            sacred=record,
        )

    def _stage(self, identity: str) -> StageInfo:
        if identity not in self._stages:
            self._stages[identity] = read_stage(self.results / "stages" / identity)
        return self._stages[identity]

    @cached_property
    def evaluations(self) -> list[dict[str, Any]]:
        """The content of every metrics.json."""
        return list(_readable(sorted((self.results / "evaluations").glob("*/metrics.json"))))

    @cached_property
    def evaluated(self) -> set[str]:
        """What was evaluated."""
        return set(map(_what, self.evaluations))

    def _evaluated(self, run: Run) -> dict[str, Any]:
        """The figures of a run without a Sacred run, from the evaluations made for it."""
        return {
            stored.get("branch", ""): stored
            for stored in self.evaluations
            if (stored.get("row"), stored.get("seed")) == (run.row, run.seed)
            and set(stored["stages"].values()) <= set(run.stages)
        }

    def _gone(self, results: Mapping[str, Any]) -> bool:
        """Whether an evaluation behind figures is not stored any more."""
        return any(_what(figures) not in self.evaluated for figures in results.values())


def _readable(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        try:
            stored = read_json(file, dict[str, Any])
        except (DamagedFileError, OSError):
            continue
        if isinstance(stored.get("stages"), dict):
            yield stored


def _what(figures: Mapping[str, Any]) -> str:
    """What was evaluated: equal for the figures of a run and the evaluation that gave them."""
    names = ("stages", "branch", "data", "tta")
    return json.dumps([figures.get(name) for name in names], sort_keys=True)


def _r1(results: Mapping[str, Any], record: SacredRun | None) -> float | None:
    """R@1 of a run's first branch, with the index that its table shows."""
    if not results:
        return None
    figures = results.get("student") or next(iter(results.values()))
    own = record is not None and (record.config.get("resolved") or {}).get("own_index")
    index = "own" if own or figures.get("merged") is None else "merged"
    r1 = (figures.get(index) or {}).get("r1")
    return r1 if isinstance(r1, float | int) else None


def _state(
    stages: tuple[StageInfo, ...], record: SacredRun | None, gone: bool
) -> tuple[State, str]:
    """What became of a run, and why; the reason is empty where it is done or running."""
    unfinished = [stage for stage in stages if stage.state != "done"]
    status = record.status if record else ""
    if any(stage.holder for stage in stages) and status in ("", "RUNNING"):
        return "running", ""
    if status == "FAILED":
        return "failed", (record.failure if record else "") or "it gave no reason"
    if status in ("", "COMPLETED"):
        if unfinished:
            return "interrupted", "; ".join(map(_lacks, unfinished))
        if gone:
            return "interrupted", "its evaluation is gone; nothing is trained for it again"
        return "done", ""
    ended = "stopped by Ctrl-C or SIGTERM" if status == "INTERRUPTED" else "killed"
    if not unfinished:
        return "interrupted", f"{ended} before its figures were kept; its stages are trained"
    return "interrupted", f"{ended}; {'; '.join(map(_lacks, unfinished))}"


def _lacks(stage: StageInfo) -> str:
    """What an unfinished stage lacks, and what is done about it."""
    if stage.state == "damaged":
        return f"{stage.title} {stage.id} is damaged: add --fresh"
    if stage.state == "missing":
        return f"{stage.title} {stage.id} is not there: it is trained"
    how = "it goes on from there" if stage.resumable else "it begins again"
    return f"{stage.title} {stage.id} {stage.progress}: {how}"

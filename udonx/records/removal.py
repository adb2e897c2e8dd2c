"""What may be removed from a results folder, and its removal.

What a stored table or another run needs stays, and so does what another process uses.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from udonx.common.files import DamagedFileError
from udonx.common.json_files import read_json
from udonx.config.problems import ConfigError, Problem
from udonx.records.listing import find_run
from udonx.records.runs import RunInfo, read_all
from udonx.records.stages import StageInfo, read_stage, size_of
from udonx.store.lock import StageLock
from udonx.store.runs import rewrite_runs
from udonx.tables.storage import find_tables, read_table
from udonx.tables.table import Table


@attrs.frozen(kw_only=True)
class Kept:
    """A stage that stays.

    Attributes:
        stage: the stage.
        why: who needs it.
    """

    stage: StageInfo
    why: str


@attrs.frozen(kw_only=True)
class EvaluationInfo:
    """An evaluation.

    Attributes:
        id: its id.
        row: the row that it was made for.
        stages: the ids of the stages that it looked at.
        bytes: what its folder takes on the disk.
    """

    id: str
    row: str
    stages: frozenset[str]
    bytes: int


@attrs.frozen(kw_only=True)
class Removal:
    """What is removed, and what stays.

    Attributes:
        results: the results folder.
        runs: the runs whose record goes.
        stages: the stages that go.
        evaluations: the evaluations that go.
        kept: the stages that stay though they were asked for.
    """

    results: Path
    runs: tuple[RunInfo, ...]
    stages: tuple[StageInfo, ...]
    evaluations: tuple[EvaluationInfo, ...]
    kept: tuple[Kept, ...] = ()

    @property
    def bytes(self) -> int:
        """What the stages and evaluations that go take on the disk."""
        stages = sum(stage.bytes for stage in self.stages)
        return stages + sum(evaluation.bytes for evaluation in self.evaluations)

    @property
    def empty(self) -> bool:
        """Whether nothing goes."""
        return not (self.runs or self.stages or self.evaluations)

    def carry_out(self) -> Removal:
        """Remove it; each folder is gone as a whole.

        Evaluations go first and the record of a run last: a call that is killed can be given again.

        Returns:
            What was removed. Stages that another process took meanwhile are among those kept, and
            so is the record of their runs.
        """
        held = {stage.id: holder for stage in self.stages if (holder := self._drop_stage(stage))}
        for evaluation in self.evaluations:
            if not held.keys() & evaluation.stages:
                _remove(self.results / "evaluations" / evaluation.id)
        gone = [run for run in self.runs if not held.keys() & {stage.id for stage in run.stages}]
        for run in gone:
            for attempt in run.attempts:
                _remove(self.results / "sacred" / attempt)
        forget_runs(self.results, gone)
        return attrs.evolve(
            self,
            runs=tuple(gone),
            stages=tuple(stage for stage in self.stages if stage.id not in held),
            evaluations=tuple(one for one in self.evaluations if not held.keys() & one.stages),
            kept=(
                *self.kept,
                *(
                    Kept(stage=stage, why=f"in use by {held[stage.id]}")
                    for stage in self.stages
                    if stage.id in held
                ),
            ),
        )

    def _drop_stage(self, stage: StageInfo) -> str:
        """Remove a stage; who holds it where somebody does, who keeps it."""
        folder = self.results / "stages" / stage.id
        with StageLock(folder) as lock:
            if not lock.acquire():
                return lock.holder()
            _remove(folder)
        return ""


def plan_removal(results: Path, identities: Iterable[str]) -> Removal:
    """What goes with some runs: their record, and the stages that nothing else needs.

    Args:
        results: the results folder.
        identities: ids of runs, as `find_run` takes them.

    Raises:
        ConfigError: an id is not that of one run, a run is running, or a stored table is damaged.
    """
    runs = read_all(results)
    wanted = {run.id: run for run in (find_run(runs, identity) for identity in identities)}
    chosen = list(wanted.values())
    problems = [
        Problem(where=run.id, message=f"{run.title} is running; stop it first")
        for run in chosen
        if run.state == "running"
    ]
    if problems:
        raise ConfigError(problems)
    needs = _Needs(tables=_tables(results), runs=[run for run in runs if run not in chosen])
    stages = {stage.id: stage for run in chosen for stage in run.stages}
    rows = {(*run.question, run.row) for run in chosen}
    kept, going = [], []
    for stage in stages.values():
        if stage.state == "missing":
            continue
        if users := needs.users(stage.id, but=rows):
            kept.append(Kept(stage=stage, why=f"needed by {'; '.join(users)}"))
        else:
            going.append(stage)
    return Removal(
        results=results,
        runs=tuple(chosen),
        stages=tuple(going),
        evaluations=tuple(_evaluations_of(results, {stage.id for stage in going})),
        kept=tuple(kept),
    )


def plan_collection(results: Path) -> Removal:
    """What no table needs: stages, their evaluations, and the runs that made nothing else.

    What can still come into a table is kept: the stages of runs that are not done, and those of
    runs whose table is not written yet.

    Raises:
        ConfigError: a stored table is damaged, so that it is not known what it needs.
    """
    runs, tables = read_all(results), _tables(results)
    needed = {stage for table in tables.values() for row in table.rows for stage in row.stages}
    open_runs = [run for run in runs if run.state != "done" or run.question not in tables]
    going, kept = [], []
    for folder in sorted(path for path in (results / "stages").glob("*") if path.is_dir()):
        if folder.name in needed or folder.name.startswith("."):
            continue
        stage = read_stage(folder)
        users = [run for run in open_runs if folder.name in [one.id for one in run.stages]]
        if stage.holder:
            kept.append(Kept(stage=stage, why=f"in use by {stage.holder}"))
        elif users:
            kept.append(Kept(stage=stage, why="; ".join(map(_still_open, users))))
        else:
            going.append(stage)
    ids = {stage.id for stage in going}
    return Removal(
        results=results,
        runs=tuple(run for run in runs if run.stages and run.stages[-1].id in ids),
        stages=tuple(going),
        evaluations=tuple(_evaluations_of(results, ids)),
        kept=tuple(kept),
    )


def tables_with(results: Path, run: RunInfo) -> list[str]:
    """The folders, below `tables/`, of the stored tables that show what a run made."""
    last = run.stages[-1].id if run.stages else ""
    return [
        "/".join(question)
        for question, table in _tables(results).items()
        if any(last in row.stages for row in table.rows)
    ]


def forget_runs(results: Path, runs: Sequence[RunInfo]) -> None:
    """Remove the lines of runs from runs.jsonl."""
    keys = {(run.question, run.row, run.seed, tuple(one.id for one in run.stages)) for run in runs}
    if keys:
        rewrite_runs(
            results / "runs.jsonl",
            lambda line: ((line.file, line.setting), line.row, line.seed, line.stages) not in keys,
        )


@attrs.frozen
class _Needs:
    """Who needs a stage.

    Attributes:
        tables: the stored tables, by file and setting.
        runs: the runs that stay.
    """

    tables: dict[tuple[str, str], Table]
    runs: list[RunInfo]

    def users(self, stage: str, but: set[tuple[str, str, str]]) -> list[str]:
        """The runs and the rows of tables that need a stage.

        Args:
            stage: its id.
            but: rows whose runs go, by file, setting and name.
        """
        runs = [run for run in self.runs if stage in [one.id for one in run.stages]]
        found = [f"run {run.id} ({run.title})" for run in runs]
        named = but | {(*run.question, run.row) for run in runs}
        for question, table in self.tables.items():
            for row in table.rows:
                if stage in row.stages and (*question, row.name) not in named:
                    found.append(f"the table {'/'.join(question)} ({row.name})")
        return list(dict.fromkeys(found))


def _tables(results: Path) -> dict[tuple[str, str], Table]:
    """The stored tables, by file and setting.

    Raises:
        ConfigError: one of them is damaged.
    """
    tables, problems = {}, []
    for path in find_tables(results / "tables") if (results / "tables").is_dir() else []:
        try:
            tables[path.parent.parent.name, path.parent.name] = read_table(path)
        except DamagedFileError as error:
            message = f"{error}; till then it is not known which stages it needs"
            problems.append(Problem(where=str(path), message=message))
    if problems:
        raise ConfigError(problems)
    return tables


def _still_open(run: RunInfo) -> str:
    """Why a run that is in no table keeps its stages."""
    if run.state == "done":
        return f"run {run.id} ({run.title}), whose table is not written"
    return f"run {run.id} ({run.title}) is {run.state}"


def _evaluations_of(results: Path, stages: set[str]) -> Iterable[EvaluationInfo]:
    """The evaluations that looked at one of these stages."""
    for file in sorted((results / "evaluations").glob("*/metrics.json")):
        try:
            stored = read_json(file, dict)
        except (DamagedFileError, OSError):
            continue
        embedders = frozenset((stored.get("stages") or {}).values())
        if embedders & stages:
            yield EvaluationInfo(
                id=file.parent.name,
                row=str(stored.get("row") or ""),
                stages=embedders,
                bytes=size_of(file.parent),
            )


def _remove(folder: Path) -> None:
    """Remove a folder under a name that `sweep` finds, where this process is killed meanwhile."""
    hidden = folder.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        folder.rename(hidden)
    except FileNotFoundError:
        return
    shutil.rmtree(hidden)

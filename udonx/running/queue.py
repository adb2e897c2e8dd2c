"""The rows of one plan, run one after the other; those that another process works on wait."""

from __future__ import annotations

import logging
import time
import traceback
from collections import deque
from pathlib import Path

import attrs

from udonx.common.errors import describe_error, sentence_of
from udonx.common.words import clock, plural
from udonx.planning.plan import PlannedRow
from udonx.running.events import RowChanged, TableEnded
from udonx.running.record import Recorder
from udonx.running.row import run_row
from udonx.running.session import PlanRun, row_id, row_title
from udonx.store.lock import POLL_SECONDS, StageLock
from udonx.tables.kept import KeptTable
from udonx.tables.table import Table

logger = logging.getLogger(__name__)


class TableRun:
    """Runs the rows of one plan, and keeps their table.

    Attributes:
        failed: why rows could not be made, by their titles.
    """

    def __init__(self, context: PlanRun) -> None:
        self.context, self.plan, self.session = context, context.plan, context.session
        results, observers = self.session.results, self.plan.experiment.observers
        self.recorder = Recorder(results.root / "sacred", observers)
        self.table = KeptTable(self.plan, results)
        self.failed: dict[str, str] = {}

    def run(self) -> Table:
        """Run every row.

        Raises:
            Exception: with `fail_fast`, what went wrong in a row.
        """
        began, experiment = time.monotonic(), self.plan.experiment
        for line in experiment.skipped(len(self.plan.benchmark.domains)):
            logger.info(line)
        if not self.plan.rows:
            logger.info(
                f"{experiment.path}: no row of this file is in the setting"
                f" '{experiment.setting}'; nothing was run"
            )
            return self.table.shown()
        self._run_rows()
        failed = f", but {plural(len(self.failed), 'row')} failed" if self.failed else ""
        places = (
            f"{self.table.place()}; stages, evaluations and runs in {self.session.results.root}"
        )
        logger.info(f"done{failed} in {clock(time.monotonic() - began)}; {places}")
        table = self.table.shown(self.failed)
        self.session.tell(
            TableEnded(
                table=experiment.name, folder=str(self.table.folder), content=attrs.asdict(table)
            )
        )
        return table

    def failures(self) -> dict[str, str]:
        """Why rows could not be made, by the file and their titles."""
        name = self.plan.experiment.name
        return {f"{name}: {title}": why for title, why in self.failed.items()}

    def _run_rows(self) -> None:
        """Run the rows in order; one whose stage another process trains goes to the end."""
        pending = deque(self.plan.rows)
        waiting = 0  # of the rows that come next, so many were found to wait
        while pending:
            planned = pending.popleft()
            if holder := self._held_elsewhere(planned):
                pending.append(planned)
                waiting += 1
                if waiting == len(pending):
                    self._tell_waiting(planned, holder)
                if waiting >= len(pending):
                    time.sleep(POLL_SECONDS)
                continue
            waiting = 0
            try:
                run_row(
                    planned, self.context, self.recorder, self.table.question, self._write_table
                )
            except Exception as error:
                if self.session.options.fail_fast:
                    raise
                self._fail(planned, error)
            self._write_table()

    def _write_table(self) -> list[Path]:
        """Write the table; returns its files."""
        self.table.write(self.failed)
        return [file for file in sorted(self.table.folder.glob("table.*")) if file.is_file()]

    def _tell_waiting(self, planned: PlannedRow, holder: str) -> None:
        why = f"waiting for a stage that {holder} is training"
        logger.info(f"{planned.row.label}: {why}")
        self.session.tell(RowChanged(row=row_id(planned, self.plan), state="waiting", why=why))

    def _fail(self, planned: PlannedRow, error: Exception) -> None:
        """Note why a row failed, and go on.

        An error that only a programmer can mend shows its traceback too.
        """
        title = row_title(planned)
        if (sentence := sentence_of(error)) is None:
            logger.error("".join(traceback.format_exception(error)).rstrip())
        # training names the row itself
        self.failed[title] = (sentence or describe_error(error)).removeprefix(f"{title}: ")
        logger.error(f"{title}: failed: {self.failed[title]}; the other rows go on")
        row = row_id(planned, self.plan)
        self.session.tell(RowChanged(row=row, state="failed", why=self.failed[title]))

    def _held_elsewhere(self, planned: PlannedRow) -> str | None:
        """Who trains a stage that a row needs; None where nobody does."""
        for identity in planned.stages:
            folder = self.session.results.stage(identity)
            if not folder.finished and folder.path.exists():
                with StageLock(folder.path) as lock:
                    if not lock.acquire():
                        return lock.holder()
        return None

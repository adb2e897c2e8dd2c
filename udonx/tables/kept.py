"""The table of a plan, on disk and as it is shown.

On disk it is over all rows and seeds that are stored; shown are the seeds that were asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType

import attrs

from udonx.config.problems import ConfigError
from udonx.inputs.open import resolve_weights
from udonx.planning.plan import Plan, make_plan
from udonx.store.results import Results
from udonx.tables.build import build_table
from udonx.tables.groups import all_seeds
from udonx.tables.question import Question, question_of
from udonx.tables.storage import loses_figures, write_table
from udonx.tables.table import Table

logger = logging.getLogger(__name__)

_NOTHING: Mapping[str, str] = MappingProxyType({})


def stored_seeds(plan: Plan, results: Results) -> Plan:
    """The plan over all seeds that any run of its question has asked for, beside its own."""
    experiment = plan.experiment
    question = question_of(experiment, results.root)
    runs = [
        run
        for run in results.runs()
        if (run.file, run.setting) == (question.file, question.variant)
    ]
    seeds = sorted({run.seed for run in runs if run.seed is not None} | set(experiment.seeds))
    if set(seeds) == set(experiment.seeds):
        return plan
    return make_plan(
        attrs.evolve(experiment, seeds=tuple(seeds)), plan.benchmark, plan.start_weights
    )


def shown_table(
    plan: Plan,
    results: Results,
    failed: Mapping[str, str] = _NOTHING,
) -> Table:
    """The table as it is shown.

    It is over the seeds of `--seeds`, else over the file's and all that are stored.
    """
    return build_table(
        plan if plan.experiment.only_seeds else stored_seeds(plan, results), results, failed
    )


class KeptTable:
    """The table of one run.

    On disk stand all of the file's rows and all stored seeds, whichever of them this call asks for:
    so several commands add to one table.
    """

    def __init__(self, plan: Plan, results: Results) -> None:
        self.results = results
        self.question: Question = question_of(plan.experiment, results.root)
        self.folder = results.table(self.question.folder)
        self._plan, self._whole = plan, _all_rows(plan)
        self._written: Table | None = None

    def write(self, failed: Mapping[str, str] = _NOTHING) -> None:
        """Write the table.

        A table of other figures that lies there is kept beside it, which is logged.
        """
        if self._whole is None:
            return
        table = self._build(self._whole, failed)
        # perhaps only what another command has added since: look again
        if loses_figures(table, self.folder):
            table = self._build(self._whole, failed)
        if (kept := write_table(table, self.folder)) is not None:
            logger.warning(
                f"the table that lay in {self.folder} has other figures; it is kept in {kept}"
            )
        self._written = table

    def shown(self, failed: Mapping[str, str] = _NOTHING) -> Table:
        """The table that this call asked for.

        It has all of the file's rows, or those of `--row` where the others cannot be planned.
        """
        plan = self._whole or self._plan
        if self._written is not None and not plan.experiment.only_seeds:
            return self._written
        return shown_table(plan, self.results, failed)

    def place(self) -> str:
        """Where the table lies, for the last line of a run."""
        if self._written is None:
            return (
                "the table was not written, since rows that were not asked for need start weights"
                " that are not here"
            )
        seeds = all_seeds(self._written.rows)
        more = (
            set(seeds) - set(self._plan.experiment.seeds)
            if self._plan.experiment.only_seeds
            else ()
        )
        over = f" (over all stored seeds: {', '.join(map(str, seeds))})" if more else ""
        return f"table, CSV and JSON in {self.folder}{over}"

    def _build(self, plan: Plan, failed: Mapping[str, str]) -> Table:
        return build_table(stored_seeds(plan, self.results), self.results, failed)


def _all_rows(plan: Plan) -> Plan | None:
    """The plan over all of the file's rows.

    It is None where one that was not asked for needs weights that are not here.
    """
    if not plan.experiment.selected:
        return plan
    everything = attrs.evolve(plan.experiment, selected=())
    try:
        return make_plan(everything, plan.benchmark, resolve_weights(everything, fetch=False))
    except ConfigError:
        return None

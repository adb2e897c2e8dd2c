"""The main path: from resolved experiments to their tables."""

from __future__ import annotations

from collections.abc import Sequence

from udonx.common.cache import cache_dir
from udonx.common.files import folder_problem, sweep
from udonx.common.interrupts import stoppable
from udonx.config.experiment import Experiment
from udonx.config.problems import ConfigError, Problem
from udonx.engine.device import choose, repeatable
from udonx.inputs.open import open_inputs
from udonx.planning.plan import Plan, make_plan
from udonx.running.data_check import check_data
from udonx.running.errors import RowsFailed
from udonx.running.events import Listener
from udonx.running.fresh import FreshCall
from udonx.running.options import RunOptions
from udonx.running.preflight import check_run
from udonx.running.queue import TableRun
from udonx.running.session import PlanRun, Session
from udonx.running.telling import telling
from udonx.store.lock import StageLock
from udonx.store.results import Results
from udonx.tables.table import Table


def run_experiments(
    experiments: Sequence[Experiment], options: RunOptions, listen: Listener | None = None
) -> list[Table]:
    """Run resolved experiments one after the other.

    Stages are shared between them through the results folder.

    Args:
        experiments: what is run.
        options: how it is run.
        listen: hears what happens; without one, a terminal shows it as it happens.

    Raises:
        ConfigError: everything that is wrong, found before anything is trained.
        RowsFailed: some rows failed; raised at the end, when all others are done.
    """
    if message := folder_problem(options.results):
        raise ConfigError([Problem(where="--results", message=message)])
    session = Session(options, choose(options.device))
    with repeatable(session.device), stoppable():
        # ------------------------------------------------------------- inputs opened, each once
        inputs, problems = open_inputs(experiments)
        problems += check_data(inputs)

        # ------------------------------------------------------------- plans made
        whole = [each for each in inputs if each.whole]
        plans = [
            make_plan(each.experiment, each.data.benchmark, each.start_weights) for each in whole
        ]

        # ------------------------------------------------------------- everything checked
        problems += check_run(inputs, plans, options)
        if problems:
            raise ConfigError(problems)

        # ------------------------------------------------------------- tables run
        session.results.log_damaged_runs()
        _tidy(plans, session.results)
        fresh = FreshCall(plans, session.results) if options.fresh else None
        if fresh:
            fresh.begin()
        with telling(plans, session, listen) as session:
            runs = [
                TableRun(PlanRun(plan, each.data.images, session))
                for plan, each in zip(plans, whole, strict=True)
            ]
            tables = [run.run() for run in runs]
        if failures := {title: why for run in runs for title, why in run.failures().items()}:
            raise RowsFailed(tables, failures)
        if fresh:
            fresh.end()
        return tables


def _tidy(plans: Sequence[Plan], results: Results) -> None:
    """Remove what killed processes left behind.

    That is files half written, and checkpoints of finished stages.
    """
    for root in (results.root, cache_dir()):
        if root is not None:
            sweep(root)
    for folder in {results.stage(identity) for plan in plans for identity in plan.stages}:
        if folder.finished and folder.started:
            with StageLock(folder.path) as lock:
                if lock.acquire():
                    folder.tidy()

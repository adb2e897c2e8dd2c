"""Tunes resolved experiments: everything is looked at, then trial by trial is trained."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

import attrs

from udonx.common.files import folder_problem
from udonx.common.interrupts import stoppable
from udonx.common.words import clock, display_path, format_value, plural, roughly
from udonx.config.experiment import Experiment
from udonx.config.problems import ConfigError, Problem
from udonx.config.starts import needed_by
from udonx.engine.device import choose, describe, repeatable
from udonx.engine.errors import TrainingError
from udonx.forecast.costs import Timings
from udonx.inputs.open import Inputs, OpenData, open_inputs
from udonx.planning.plan import Plan, PlannedRow, make_plan
from udonx.running.data_check import check_data
from udonx.running.options import RunOptions
from udonx.running.preflight import check_run
from udonx.running.record import Recorder
from udonx.running.row import run_row
from udonx.running.session import PlanRun, Session, row_title
from udonx.running.trials import EndedTrial, ImpossibleTrial, NextTrial, RowTrials, tuning_seeds
from udonx.running.tuned import TunedRow
from udonx.store.runs import TRIALS
from udonx.tables.question import question_of

logger = logging.getLogger(__name__)


def run_tuning(
    experiments: Sequence[Experiment], options: RunOptions, *, retry_failed: bool = False
) -> list[tuple[TunedRow, ...]]:
    """Tune resolved experiments, whose rows all have something to tune.

    Args:
        experiments: what to tune.
        options: how it is run.
        retry_failed: whether trials that failed in an earlier call are tried again.

    Returns:
        The rows of each.

    Raises:
        ConfigError: everything that is wrong, found before anything is trained.
    """
    session = _session(options)
    with repeatable(session.device), stoppable():
        tuner = Tuner.prepare(experiments, session, retry_failed)
        for line in tuner.forecast().split("\n"):
            logger.info(line)
        return tuner.run()


def forecast_tuning(
    experiments: Sequence[Experiment], options: RunOptions, *, retry_failed: bool = False
) -> str:
    """What tuning would train, and how long that takes; arguments are those of `run_tuning`.

    Raises:
        ConfigError: everything that is wrong.
    """
    return Tuner.prepare(experiments, _session(options), retry_failed).forecast()


def _session(options: RunOptions) -> Session:
    if message := folder_problem(options.results):
        raise ConfigError([Problem(where="--results", message=message)])
    return Session(options, choose(options.device))


@attrs.frozen(slots=False)
class Tuner:
    """One call of tuning: the rows of one or more experiments, looked at and ready.

    Attributes:
        session: how it runs.
        searches: the trials of each row, by experiment; a row after those that it starts from.
    """

    session: Session
    searches: list[list[RowTrials]]

    @classmethod
    def prepare(
        cls, experiments: Sequence[Experiment], session: Session, retry_failed: bool
    ) -> Tuner:
        """Look at data, weights and models, and read the trials that are there already.

        Nothing that only a test reads is opened, here or later: the benchmark is without it.

        Args:
            experiments: what to tune.
            session: how it runs.
            retry_failed: whether trials that failed in an earlier call are tried again.

        Raises:
            ConfigError: everything that is wrong.
        """
        opened, problems = open_inputs(experiments)
        inputs = [_without_test(each) for each in opened]
        problems += check_data(inputs)
        whole = [each for each in inputs if each.whole]
        plans = [_plan(each) for each in whole]
        for each, plan in zip(whole, plans, strict=True):
            problems += _no_validation(each, plan)
        problems += check_run(inputs, plans, session.options)
        if problems:
            raise ConfigError(problems)
        tuner = cls(session, [_searches(each, session, retry_failed) for each in inputs])
        for rows in tuner.searches:
            for trials in rows:
                trials.read_made()
                if not trials.left:
                    _hand_on(trials, rows)
        return tuner

    # ------------------------------------------------------------------------------------ of costs

    def forecast(self) -> str:
        """What is left to train, a line for each row, and how long it takes."""
        timings = Timings(describe(self.session.device))
        lines = []
        for rows in self.searches:
            for trials in rows:
                stages = trials.stages_left()
                steps = sum(spec.training.steps * n for spec, n in stages if spec.training)
                seconds = timings.seconds(trials.work_left())
                there = _there(trials)
                lines.append(
                    f"{trials.inputs.experiment.name}, {trials.row.name}:"
                    f" {plural(trials.search.trials, 'trial')}{there}; left to train:"
                    f" {plural(sum(n for _, n in stages), 'stage')}, {plural(steps, 'step')},"
                    f" {_about(seconds)}"
                )
        return "\n".join([*lines, f"in all {self.time_left()} on {timings.device}"])

    def time_left(self) -> str:
        """How long all that is left takes, in words."""
        timings = Timings(describe(self.session.device))
        known = [timings.seconds(trials.work_left()) for rows in self.searches for trials in rows]
        return _about(None if None in known else sum(filter(None, known)))

    def _anything_left(self) -> bool:
        return any(trials.left for rows in self.searches for trials in rows)

    # -------------------------------------------------------------------------------------- to run

    def run(self) -> list[tuple[TunedRow, ...]]:
        """Make all trials that are left; returns the rows of each experiment."""
        return [tuple(self._tune(trials, rows) for trials in rows) for rows in self.searches]

    def _tune(self, trials: RowTrials, rows: Sequence[RowTrials]) -> TunedRow:
        there = trials.left == 0
        for ended in trials.ended:
            logger.info(f"{_line(trials, ended)}, already there")
        while trials.left:
            began = time.monotonic()
            ended = self._make_next(trials)
            took = clock(time.monotonic() - began)
            left = f", {self.time_left()} left" if self._anything_left() else ""
            logger.info(f"{_line(trials, ended)}; took {took}{left}")
        if not there:
            _hand_on(trials, rows)
        return TunedRow(
            name=trials.row.name,
            paths=tuple(dimension.path for dimension in trials.space),
            trials=tuple(trials.ended),
            best=trials.best,
        )

    def _make_next(self, trials: RowTrials) -> EndedTrial:
        """Train what the next trial needs; one that fails is noted, and the others go on."""
        try:
            trial = trials.next_trial()
        except ImpossibleTrial as impossible:
            return trials.end_untrained(impossible)
        if (known := trials.end_known(trial)) is not None:
            return known
        try:
            self._train(trials, trial)
        except TrainingError as error:
            return trials.fail(trial, _reason(error, trial))
        return trials.end(trial)

    def _train(self, trials: RowTrials, trial: NextTrial) -> None:
        """Train the stages of a trial that are not there, as runs of the record."""
        results, experiment = self.session.results, trials.inputs.experiment
        context = PlanRun(trial.plan, trials.inputs.data.images, self.session)
        question = question_of(experiment, results.root)
        # a trial is no row of the table, and its seeds are not shown there
        question = attrs.evolve(question, file=f"{question.file}{TRIALS}")
        recorder = Recorder(results.root / "sacred", experiment.observers)
        for planned in trial.plan.rows:
            if not all(results.stage(identity).finished for identity in planned.stages):
                run_row(_as_trial(planned, trial.number), context, recorder, question)


def _reason(error: TrainingError, trial: NextTrial) -> str:
    """Why a trial failed, without its own title before it."""
    message = " ".join(str(error).split())
    for planned in trial.plan.rows:
        message = message.removeprefix(f"{row_title(_as_trial(planned, trial.number))}: ")
    return message


def _as_trial(planned: PlannedRow, number: int) -> PlannedRow:
    """A planned row as a trial: it is called so, and nothing of it is evaluated."""
    row = attrs.evolve(planned.row, label=f"{planned.row.label}, trial {number}")
    return attrs.evolve(planned, row=row, evaluations=())


def _searches(inputs: Inputs, session: Session, retry_failed: bool) -> list[RowTrials]:
    """The trials of each row, after those of the rows that it starts from."""
    experiment, seeds = inputs.experiment, tuning_seeds(inputs.experiment)
    rows = sorted(
        experiment.wanted_rows(), key=lambda row: len(needed_by(experiment.rows, [row.name]))
    )
    return [RowTrials(inputs, row, seeds, session.results, retry_failed) for row in rows]


def _hand_on(tuned: RowTrials, rows: Sequence[RowTrials]) -> None:
    """Let the rows that start from a tuned one start from it at its best values."""
    for trials in rows:
        if trials.starts_from(tuned.row.name):
            trials.take_over(tuned)


def _there(trials: RowTrials) -> str:
    """How many trials were made already, and how many of them failed."""
    if not trials.ended:
        return ""
    failed = sum(trial.score is None for trial in trials.ended)
    which = f" ({failed} failed; --retry-failed tries again)" if failed else ""
    return f", {len(trials.ended)} already there{which}"


def _about(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else f"about {roughly(seconds)}"


def _line(trials: RowTrials, ended: EndedTrial) -> str:
    """One trial as it ends."""
    values = ", ".join(f"{path} = {format_value(value)}" for path, value in ended.values.items())
    title = (
        f"{trials.row.name}, trial {ended.number} ({ended.number + 1} of {trials.search.trials})"
    )
    if ended.score is None:
        return f"{title}: {values}: failed: {ended.failure}"
    best = trials.best
    assert best is not None and best.score is not None, "this one has a score"
    so_far = "the best so far"
    if best.number < ended.number:
        so_far = f"the best is {100 * best.score:.2f} of trial {best.number}"
    what = "as it is" if ended.number == 0 else values
    return f"{title}: {what}: R@1 {100 * ended.score:.2f}, {so_far}"


# ------------------------------------------------------------------------------- what is looked at


def _without_test(inputs: Inputs) -> Inputs:
    data = OpenData(inputs.data.benchmark.without_test(), inputs.data.images)
    return attrs.evolve(inputs, data=data)


def _plan(inputs: Inputs) -> Plan:
    experiment = attrs.evolve(inputs.experiment, seeds=tuning_seeds(inputs.experiment))
    return make_plan(experiment, inputs.data.benchmark, inputs.start_weights)


def _no_validation(inputs: Inputs, plan: Plan) -> Iterator[Problem]:
    """Rows that train on no domain by which their trials could be scored."""
    benchmark = plan.benchmark
    for planned in plan.rows:
        stages = planned.evaluations[0].spec.embedders.values()
        domains = dict.fromkeys(domain for stage in stages for domain in stage.domains)
        if not any(benchmark.query_index(domain, "val") for domain in domains):
            message = (
                f"none of {', '.join(domains)} has a validation split, by which trials are scored;"
                f" add val.json to one of them in {display_path(benchmark.root)}"
            )
            where, row = inputs.experiment.setting_place, planned.row.name
            yield Problem(where=where, rows=(row,), key="data", message=message)

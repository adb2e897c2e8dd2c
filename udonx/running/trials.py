"""The trials of one row: which come next, what they train, and how they scored.

All of it follows from the file and the stages that are there. So a call that was killed goes on
with the same trials, and what they cost can be told beforehand.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs

from registry.contracts import Dimension, Search, StageSpec, Trial
from udonx.config.experiment import Experiment
from udonx.config.problems import ConfigError
from udonx.config.rows import RowConfig
from udonx.config.starts import needed_by
from udonx.config.tuning import Tuning, value_in
from udonx.forecast.costs import Work
from udonx.forecast.remaining import stage_work
from udonx.inputs.open import Inputs
from udonx.planning.identity import digest
from udonx.planning.plan import Plan, make_plan
from udonx.store.results import Results


@attrs.frozen(kw_only=True)
class EndedTrial:
    """A trial and what came of it.

    Attributes:
        number: 0 for the row as its file has it.
        values: by the path of their dimension; of the row as it is those that it has.
        score: R@1 on the validation splits, the mean over seeds; None where it failed.
        seconds: what training its stages took.
        failure: why it failed, in one sentence.
    """

    number: int
    values: Mapping[str, Any]
    score: float | None
    seconds: float = 0.0
    failure: str | None = None

    @property
    def as_asked(self) -> Trial:
        """The trial as a search sees it."""
        return Trial(number=self.number, values=self.values, score=self.score)


@attrs.frozen
class NextTrial:
    """A trial that is to be made.

    Attributes:
        number: its number.
        values: by the path of their dimension; of the row as it is those that it has.
        plan: its stages.
    """

    number: int
    values: Mapping[str, Any]
    plan: Plan


@attrs.define(slots=False, eq=False)
class RowTrials:
    """The trials of one row.

    Attributes:
        inputs: of its experiment, without what only a test reads.
        row: the row as its file has it.
        seeds: with which each trial is trained.
        results: where the stages are.
        retry_failed: whether trials that failed in an earlier call are tried again.
        ended: the trials that have ended.
    """

    inputs: Inputs
    row: RowConfig
    seeds: tuple[int, ...]
    results: Results
    retry_failed: bool = False
    ended: list[EndedTrial] = attrs.field(factory=list)

    @property
    def tuning(self) -> Tuning:
        """`[tune]` of its file."""
        return tuning_of(self.inputs.experiment)

    @property
    def space(self) -> Sequence[Dimension]:
        """Its dimensions."""
        return self.tuning.spaces[self.row.name]

    @cached_property
    def search(self) -> Search:
        """What chooses its trials."""
        return self.tuning.make_search(self.row.name)

    @property
    def left(self) -> int:
        """How many trials are to be made."""
        return self.search.trials - len(self.ended)

    @property
    def best(self) -> EndedTrial | None:
        """The trial with the highest score, the first of several; None where all failed."""
        scored = [trial for trial in self.ended if trial.score is not None]
        return max(scored, key=lambda trial: trial.score or 0.0, default=None)

    @cached_property
    def as_it_is(self) -> NextTrial:
        """The first trial."""
        own = {each.path: value_in(self.row, each) for each in self.space}
        values = {path: value for path, value in own.items() if value is not None}
        return NextTrial(0, values, self._plan(self.row))

    def next_trial(self) -> NextTrial:
        """The trial that comes next.

        Raises:
            ImpossibleTrial: the row cannot have these values together.
        """
        number = len(self.ended)
        if number == 0:
            return self.as_it_is
        values = self.search.ask(number, [trial.as_asked for trial in self.ended])
        try:
            return NextTrial(number, values, self._plan(self.tuning.row_with(self.row, values)))
        except ConfigError as error:
            raise ImpossibleTrial(number, values, error) from error

    def _plan(self, row: RowConfig) -> Plan:
        rows = (row if each.name == row.name else each for each in self.inputs.experiment.rows)
        experiment = attrs.evolve(
            self.inputs.experiment, rows=tuple(rows), selected=(row.name,), seeds=self.seeds
        )
        return make_plan(experiment, self.inputs.data.benchmark, self.inputs.start_weights)

    def starts_from(self, name: str) -> bool:
        """Whether the row starts from another one, directly or through others."""
        needed = needed_by(self.inputs.experiment.rows, [self.row.name])
        return name != self.row.name and any(row.name == name for row in needed)

    def take_over(self, source: RowTrials) -> None:
        """Start from another row at its best values from here on; trials from others are none."""
        if source.best is None or source.best.number == 0:
            return
        best = self.tuning.row_with(source.row, source.best.values)
        experiment = self.inputs.experiment
        rows = tuple(best if row.name == best.name else row for row in experiment.rows)
        self.inputs = attrs.evolve(self.inputs, experiment=attrs.evolve(experiment, rows=rows))
        self.ended.clear()
        for cached in ("as_it_is", "_all_plans"):
            self.__dict__.pop(cached, None)
        self.read_made()

    # --------------------------------------------------------------------------------- of stages

    def is_trained(self, plan: Plan) -> bool:
        """Whether all stages of a trial are there."""
        return all(self.results.stage(identity).finished for identity in plan.stages)

    def end(self, trial: NextTrial) -> EndedTrial:
        """Note a trial whose stages are all there.

        Raises:
            DamagedFileError: a stage is damaged.
        """
        done = {identity: self.results.stage(identity).done for identity in trial.plan.stages}
        r1s = [
            [
                stage.best_r1
                for identity in planned.evaluations[0].stages.values()
                if (stage := done[identity]) is not None and stage.best_r1 is not None
            ]
            for planned in trial.plan.rows
        ]
        ended = EndedTrial(
            number=trial.number,
            values=trial.values,
            score=statistics.fmean(map(statistics.fmean, r1s)),
            seconds=sum(each.seconds for each in done.values() if each is not None),
        )
        self.ended.append(ended)
        return ended

    def fail(self, trial: NextTrial, why: str) -> EndedTrial:
        """Note a trial whose training failed, for later calls too."""
        self.results.write_failed_trial(_identity(trial.plan), why)
        return self._failed(trial.number, trial.values, why)

    def end_untrained(self, impossible: ImpossibleTrial) -> EndedTrial:
        """Note a trial whose values do not fit together."""
        return self._failed(impossible.number, impossible.values, str(impossible))

    def _failed(self, number: int, values: Mapping[str, Any], why: str) -> EndedTrial:
        ended = EndedTrial(number=number, values=values, score=None, failure=why)
        self.ended.append(ended)
        return ended

    def end_known(self, trial: NextTrial) -> EndedTrial | None:
        """Note a trial that was made before, in this call or an earlier one; None for another.

        Raises:
            DamagedFileError: what an earlier call left is damaged.
        """
        if self.is_trained(trial.plan):
            return self.end(trial)
        failure = self._failure(trial.plan)
        return None if failure is None else self._failed(trial.number, trial.values, failure)

    def _failure(self, plan: Plan) -> str | None:
        """Why a trial failed in an earlier call, unless it is to be tried again."""
        return None if self.retry_failed else self.results.read_failed_trial(_identity(plan))

    def read_made(self) -> None:
        """Note the trials that were made already, up to the first that was not."""
        while self.left:
            try:
                trial = self.next_trial()
            except ImpossibleTrial as impossible:
                self.end_untrained(impossible)
                continue
            if self.end_known(trial) is None:
                return

    # ---------------------------------------------------------------------------------- of costs

    def stages_left(self) -> list[tuple[StageSpec, int]]:
        """Stages that are to be trained, and how many of each."""
        if not self.left:
            return []
        return self._estimated() if getattr(self.search, "adaptive", True) else self._counted()

    def _counted(self) -> list[tuple[StageSpec, int]]:
        """Those of all trials, each once, where these do not follow from each other's scores."""
        missing = {
            identity: spec
            for plan in self._all_plans[len(self.ended) :]
            if plan is not None and self._failure(plan) is None
            for identity, spec in plan.stages.items()
            if not self.results.stage(identity).finished
        }
        return [(spec, 1) for spec in missing.values()]

    def _estimated(self) -> list[tuple[StageSpec, int]]:
        """Those of the first trial, and for each other what the next one trains beside them."""
        history = [trial.as_asked for trial in self.ended] or [
            Trial(number=0, values=self.as_it_is.values, score=None)
        ]
        first, sample = self.as_it_is.plan.stages, self._plan_of(len(history), history)
        others = self.left if self.ended else self.left - 1
        missing = [spec for name, spec in first.items() if not self.results.stage(name).finished]
        differing = {} if sample is None else sample.stages
        return [
            *((spec, 1) for spec in missing),
            *((spec, others) for name, spec in differing.items() if name not in first),
        ]

    @cached_property
    def _all_plans(self) -> list[Plan | None]:
        """The plans of all trials, where these do not follow from each other's scores."""
        others = (self._plan_of(number, []) for number in range(1, self.search.trials))
        return [self.as_it_is.plan, *others]

    def _plan_of(self, number: int, history: Sequence[Trial]) -> Plan | None:
        """The plan of a trial; None where its values do not fit together: it costs nothing."""
        values = self.search.ask(number, history)
        try:
            return self._plan(self.tuning.row_with(self.row, values))
        except ConfigError:
            return None

    def work_left(self) -> Work:
        """What is to be done, as kinds and amounts of work."""
        benchmark = self.inputs.data.benchmark
        return [
            (kind, count * times)
            for spec, times in self.stages_left()
            for kind, count in stage_work(spec, benchmark)
        ]


class ImpossibleTrial(Exception):
    """Values that a row cannot have together; `str()` says why.

    Attributes:
        number: of the trial.
        values: by the path of their dimension.
    """

    def __init__(self, number: int, values: Mapping[str, Any], error: ConfigError) -> None:
        self.number, self.values = number, values
        super().__init__("; ".join(problem.message for problem in error.problems))


def _identity(plan: Plan) -> str:
    """The id of a trial: that of all its stages."""
    return digest(sorted(plan.stages))


def tuning_of(experiment: Experiment) -> Tuning:
    """`[tune]` of an experiment that has it."""
    assert experiment.tuning is not None, "it was looked for before"
    return experiment.tuning


def tuning_seeds(experiment: Experiment) -> tuple[int, ...]:
    """With which seeds each trial is trained: those of `--seeds`, of [tune], or of the rows."""
    own = tuning_of(experiment).seeds
    return experiment.seeds if own is None or experiment.only_seeds else own

"""The tree-structured Parzen estimator of optuna."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from registry import searches
from registry.contracts import Dimension, Trial
from registry.registry import Remember
from registry.searches.values import bounds, contains, rounded

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@searches.register("tpe")
class Tpe:
    """Values like those of the trials that did best: the tree-structured Parzen estimator.

    Args:
        space: the dimensions.
        trials: how many trials there are.
        seed: what the draws follow from.
        warm_up: trials before it learns from them.

    Source: Bergstra et al., NeurIPS 2011, as optuna has it.
    """

    def __init__(
        self,
        space: Sequence[Dimension],
        trials: int,
        *,
        seed: Annotated[int, Field(ge=0, description="What the draws follow from.")] = 0,
        warm_up: Annotated[
            int,
            Field(ge=1, description="After how many trials it learns from them; before, it draws."),
        ] = 4,
    ) -> None:
        self.trials = trials
        self._space, self._seed, self._warm_up = space, seed, warm_up

    def ask(self, number: int, history: Sequence[Trial]) -> Mapping[str, Any]:
        """Values that follow from the seed, the number of the trial and all trials before it.

        The sampler has a seed for each trial: one that is given old trials does not go on with
        the random numbers of the sampler that chose them.
        """
        import optuna
        from optuna.trial import create_trial

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self._warm_up)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        distributions = {dimension.path: _distribution(dimension) for dimension in self._space}
        scores = [trial.score for trial in history if trial.score is not None]
        worst = min(scores, default=0.0) - 1.0  # optuna would try again what failed
        study.add_trials(
            [
                create_trial(
                    params=self._to_optuna(trial.values),
                    distributions=distributions,
                    value=worst if trial.score is None else trial.score,
                )
                for trial in history
                if self._holds(trial.values)
            ]
        )
        chosen = study.ask(distributions).params
        return {
            dimension.path: _from_optuna(dimension, chosen[dimension.path])
            for dimension in self._space
        }

    def _holds(self, values: Mapping[str, Any]) -> bool:
        """Whether values are in the space; those of the row as it is need not be."""
        return all(
            dimension.path in values and contains(dimension, values[dimension.path])
            for dimension in self._space
        )

    def _to_optuna(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            dimension.path: _to_optuna(dimension, values[dimension.path])
            for dimension in self._space
        }


def problems(options: Mapping[str, Any], remember: Remember) -> Iterator[tuple[str, str]]:
    """Whether optuna is there; it is not imported for it."""
    if importlib.util.find_spec("optuna") is None:
        yield "use", "which needs the package optuna: pip install 'udonx[search]'"


def _distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension in optuna's terms; a value of a list is known there by its place."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if dimension.values is not None:
        return CategoricalDistribution(range(len(dimension.values)))
    low, high = bounds(dimension)
    if dimension.whole:
        return IntDistribution(int(low), int(high), log=dimension.log)
    return FloatDistribution(low, high, log=dimension.log)


def _to_optuna(dimension: Dimension, value: Any) -> Any:
    return value if dimension.values is None else dimension.values.index(value)


def _from_optuna(dimension: Dimension, value: Any) -> Any:
    if dimension.values is not None:
        return dimension.values[value]
    return rounded(dimension, value)

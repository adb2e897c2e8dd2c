"""Opens what an experiment reads: its benchmark, its images, its start weights."""

from __future__ import annotations

from typing import Any

from udonx.common.progress import progress_of
from udonx.config.experiment import Experiment
from udonx.config.problems import ConfigError, Problem
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore
from udonx.inputs.sources import make_source
from udonx.inputs.weights import StartWeights, WeightsError, resolve


def used_roles(experiment: Experiment) -> list[str]:
    """The backbone roles that the wanted rows use and the setting has."""
    return list(dict.fromkeys(row.backbone for row in experiment.wanted_rows() if not row.skipped))


def open_benchmark(experiment: Experiment) -> Benchmark:
    """The benchmark that an experiment's setting names, made first where it is not there.

    Raises:
        DataError: the source cannot open it.
    """
    data = experiment.data
    with progress_of(f"preparing the data '{data.source}' (once)", "images") as progress:
        try:
            return make_source(data).open(data.domains, progress)
        except (DataError, OSError):
            raise
        except Exception as error:  # a plug-in's own code
            raise DataError(
                f"the source '{data.source}' failed: {type(error).__name__}: {error}"
            ) from error


def open_images(experiment: Experiment, benchmark: Benchmark, **options: Any) -> ImageStore:
    """The images of an experiment's benchmark, within the limits of its setting; `options` are
    ImageStore's. Generated images are never left out: a damaged one can be had again.
    """
    data = experiment.data
    if not benchmark.fingerprint:
        return ImageStore(
            benchmark.root,
            max_pixels=data.max_pixels,
            max_unreadable=data.max_unreadable,
            **options,
        )
    cure = f"remove the folder {benchmark.root}, and the next run draws it again"
    return ImageStore(
        benchmark.root, max_pixels=data.max_pixels, max_unreadable=0, cure=cure, **options
    )


def resolve_weights(experiment: Experiment, *, fetch: bool = True) -> dict[str, StartWeights]:
    """The start weights of every role that is used. Raises ConfigError with all that
    are missing.
    """
    finder = WeightsFinder(fetch)
    found = finder.of(experiment)
    if finder.problems:
        raise ConfigError(finder.problems)
    return found


class WeightsFinder:
    """Finds start weights, each once however many experiments want them; `problems` are those that
    are missing.
    """

    def __init__(self, fetch: bool = True) -> None:
        self.fetch = fetch
        self.found: dict[str, StartWeights | None] = {}
        self.problems: list[Problem] = []

    def of(self, experiment: Experiment) -> dict[str, StartWeights]:
        """The start weights that are there, by role."""
        by_role = {}
        for role in used_roles(experiment):
            if (start := self._find(experiment, role)) is not None:
                by_role[role] = start
        return by_role

    def _find(self, experiment: Experiment, role: str) -> StartWeights | None:
        backbone = experiment.backbones[role]
        key = repr((backbone, experiment.weights))
        if key not in self.found:
            self.found[key] = None
            try:
                self.found[key] = resolve(backbone, experiment.weights, fetch=self.fetch)
            except WeightsError as error:
                self.problems.append(
                    Problem(
                        where=experiment.setting_place, key=f"backbones.{role}", message=str(error)
                    )
                )
        return self.found[key]

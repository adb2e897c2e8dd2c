"""Opens what an experiment reads: its benchmark, its images, its start weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import attrs

from registry.contracts import DomainFacts
from udonx.common.progress import progress_of
from udonx.config.data import DataConfig
from udonx.config.experiment import Experiment
from udonx.config.problems import ConfigError, Problem
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore
from udonx.inputs.sources import make_source
from udonx.inputs.weights import StartWeights, WeightsError, resolve


def used_roles(experiment: Experiment) -> list[str]:
    """The backbone roles that the needed rows use and the setting has."""
    rows = (row for row in experiment.needed_rows() if not row.skipped)
    return list(dict.fromkeys(role for row in rows for role in row.roles.values()))


def open_benchmark(experiment: Experiment) -> Benchmark:
    """The benchmark that an experiment's setting names, made first where it is not there.

    Raises:
        DataError: the source cannot open it.
    """
    return open_source(experiment.data)


def open_source(data: DataConfig) -> Benchmark:
    """The benchmark of a source, made first where it is not there.

    Raises:
        DataError: the source cannot open it.
    """
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
    """The images of an experiment's benchmark, within the limits of its setting.

    `options` are ImageStore's. Generated images are never left out: a damaged one can be had again.
    """
    return image_store(experiment.data, benchmark, **options)


def image_store(data: DataConfig, benchmark: Benchmark, **options: Any) -> ImageStore:
    """The images of a source's benchmark; see `open_images`."""
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


@attrs.define(slots=False, eq=False)
class OpenData:
    """The data of one or more experiments, opened.

    Attributes:
        benchmark: the split files.
        images: the images, kept in memory for all who share them.
        broken: the domains that something was found to be wrong with.
    """

    benchmark: Benchmark
    images: ImageStore
    broken: set[str] = attrs.field(factory=set)

    @cached_property
    def facts(self) -> tuple[DomainFacts, ...]:
        """The facts of the domains.

        Broken ones have a stand-in, so that models can still be checked. Read when
        `broken` is known.
        """
        if not self.broken:
            return self.benchmark.facts
        names = self.benchmark.domains
        whole = tuple(name for name in names if name not in self.broken)
        read = {fact.name: fact for fact in attrs.evolve(self.benchmark, domains=whole).facts}
        return tuple(
            read.get(name) or DomainFacts(name=name, train_images=1, train_classes=2)
            for name in names
        )


@attrs.frozen
class Inputs:
    """What one experiment reads, opened.

    Attributes:
        experiment: whose inputs they are.
        data: its data, shared with all experiments on the same data.
        start_weights: the start weights that are there, by the role of the backbone.
    """

    experiment: Experiment
    data: OpenData
    start_weights: dict[str, StartWeights]

    @property
    def whole(self) -> bool:
        """Whether nothing is missing or broken."""
        return not self.data.broken and self.start_weights.keys() >= set(
            used_roles(self.experiment)
        )


def open_inputs(experiments: Sequence[Experiment]) -> tuple[list[Inputs], list[Problem]]:
    """Open what experiments read, each thing once: data, start weights.

    Returns:
        The inputs of all experiments whose data can be opened, and what is wrong with the others
        and with start weights.
    """
    finder = WeightsFinder()
    problems: list[Problem] = []
    opened: dict[str, OpenData | None] = {}
    inputs = []
    for experiment in experiments:
        start_weights = finder.of(experiment)
        key = repr(experiment.data)
        if key not in opened:
            opened[key] = None
            try:
                benchmark = open_benchmark(experiment)
                opened[key] = OpenData(benchmark, open_images(experiment, benchmark))
            except DataError as error:
                where = experiment.setting_place
                problems.append(Problem(where=where, key="data", message=str(error)))
        if (data := opened[key]) is not None:
            inputs.append(Inputs(experiment, data, start_weights))
    return inputs, [*problems, *finder.problems]


def resolve_weights(experiment: Experiment, *, fetch: bool = True) -> dict[str, StartWeights]:
    """The start weights of every role that is used.

    Raises:
        ConfigError: all that are missing.
    """
    finder = WeightsFinder(fetch)
    found = finder.of(experiment)
    if finder.problems:
        raise ConfigError(finder.problems)
    return found


class WeightsFinder:
    """Finds start weights, each once however many experiments want them.

    `problems` are those that are missing.
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
        key = repr((backbone, experiment.weights_dir))
        if key not in self.found:
            self.found[key] = None
            try:
                self.found[key] = resolve(backbone, experiment.weights_dir, fetch=self.fetch)
            except WeightsError as error:
                self.problems.append(
                    Problem(
                        where=experiment.setting_place, key=f"backbones.{role}", message=str(error)
                    )
                )
        return self.found[key]

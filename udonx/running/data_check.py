"""What is wrong with the data of experiments: split files, images, classes, queries."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from udonx.common.words import display_path
from udonx.config.experiment import Experiment
from udonx.config.problems import Problem
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.splits import PHASES, Phase
from udonx.inputs.open import Inputs

logger = logging.getLogger(__name__)

_SHOWN = 5  # of many missing images, so many are named


def check_data(inputs: Sequence[Inputs]) -> Iterator[Problem]:
    """What is wrong with the data of experiments, each data looked at once.

    The domains that something is wrong with are noted in `OpenData.broken`. What is unusual but
    allowed is logged.
    """
    seen: set[int] = set()
    for each in inputs:
        if id(each.data) in seen:
            continue
        seen.add(id(each.data))
        experiments = [other.experiment for other in inputs if other.data is each.data]
        trained = [
            domain
            for domain in each.data.benchmark.domains
            if any(_reads_training(experiment, domain) for experiment in experiments)
        ]
        for domain, message in benchmark_problems(each.data.benchmark, trained):
            each.data.broken.add(domain)
            yield Problem(where=each.experiment.setting_place, key="data", message=message)


def _reads_training(experiment: Experiment, domain: str) -> bool:
    """Whether any row reads training images of a domain: to train, or to fit a head."""
    return any(
        (row.spec.recipe or row.spec.student_head) and row.trains_on(domain)
        for row in experiment.needed_rows()
        if not row.skipped
    )


def benchmark_problems(benchmark: Benchmark, trained: Collection[str]) -> Iterator[tuple[str, str]]:
    """Find everything that is wrong with the data of a benchmark.

    Args:
        benchmark: what is looked at.
        trained: the domains whose training images are read too.

    Yields:
        (domain, sentence); the domain is empty where a sentence is about all of them.
    """
    tested = 0
    for domain in benchmark.domains:
        if domain in trained and not benchmark.has(domain, "train"):
            file = f"{display_path(benchmark.root)}/info_files/{domain}/train.json"
            yield (
                domain,
                (
                    f"domain '{domain}' has no train split: {file} is missing; add it, or leave the"
                    " domain out with data.domains"
                ),
            )
        names = ["train"] if domain in trained and benchmark.has(domain, "train") else []
        names += [name for phase in PHASES for name in benchmark.evaluated_splits(domain, phase)]
        tested += benchmark.query_index(domain, "test") is not None
        readable = True
        for name in dict.fromkeys(names):
            try:
                benchmark.split(domain, name)
            except DataError as error:
                readable = False
                yield domain, str(error)
        if not readable:
            continue
        for message in (
            *_missing_images(benchmark, domain, names),
            *_split_problems(benchmark, domain, names),
        ):
            yield domain, message
    if not tested and "test" in benchmark.phases:
        yield (
            "",
            (
                f"no domain of {display_path(benchmark.root)} has a test split, so there is nothing"
                " to evaluate"
            ),
        )


def _missing_images(benchmark: Benchmark, domain: str, names: list[str]) -> Iterator[str]:
    missing = list(
        dict.fromkeys(
            path for name in dict.fromkeys(names) for path in benchmark.missing(domain, name)
        )
    )
    if missing:
        named = ", ".join(missing[:_SHOWN]) + (
            f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        )
        are = "images are" if len(missing) > 1 else "image is"
        yield (
            f"domain '{domain}': {len(missing)} {are} not below"
            f" {display_path(benchmark.root)}/images: {named}"
        )


def _split_problems(benchmark: Benchmark, domain: str, names: list[str]) -> Iterator[str]:
    if "train" in names:
        yield from _train_problems(benchmark, domain)
    if "train" in names:
        trained = set(benchmark.split(domain, "train").classes())
        for name in names:
            if name != "train" and (
                shared := trained.intersection(benchmark.split(domain, name).classes())
            ):
                what = "class of train is" if len(shared) == 1 else "classes of train are"
                logger.warning(
                    f"{domain}: {len(shared)} {what} also in {name}, so its scores are not those of"
                    " unseen classes"
                )
    for phase in PHASES:
        yield from _query_problems(benchmark, domain, phase)


def _train_problems(benchmark: Benchmark, domain: str) -> Iterator[str]:
    split = benchmark.split(domain, "train")
    if split.several:
        yield (
            f"domain '{domain}': {len(split.several)} training images have several labels; training"
            " takes one label per image"
        )
    classes = len(split.classes())
    if classes < 2:
        yield (
            f"domain '{domain}': its train split has {classes} class; classification needs at"
            " least 2"
        )


def _query_problems(benchmark: Benchmark, domain: str, phase: Phase) -> Iterator[str]:
    splits = benchmark.query_index(domain, phase)
    if splits is None:
        return
    query, index = (benchmark.split(domain, name) for name in splits)
    if index.several:
        yield (
            f"domain '{domain}': {len(index.several)} images of its index split '{splits[1]}' have"
            " several labels; only queries may"
        )
        return
    labels, counts = np.unique(index.class_ids, return_counts=True)
    if len(labels) == 1:
        logger.warning(
            f"{domain}: the {phase} index '{splits[1]}' shows one class only, so that a search in"
            " the domain cannot miss"
        )
    needed = 2 if splits[0] == splits[1] else 1
    relevant = set(labels[counts >= needed].tolist())
    rows = enumerate(query.class_ids.tolist())
    without = sum(
        not relevant.intersection(query.several.get(row, (label,))) for row, label in rows
    )
    if without == len(query):
        none = (
            f"not one of its {len(query)} {phase} queries has another image of its class in the"
            f" index '{splits[1]}'"
        )
        yield f"domain '{domain}': {none}, so every score would be 0"
    elif without:
        logger.warning(
            f"{domain}: {without} of {len(query)} {phase} queries have no positive in the index;"
            " they count as misses"
        )

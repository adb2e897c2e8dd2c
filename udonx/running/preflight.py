"""Everything that can be known to be wrong before step 0, in one report.

Data, weights, components and disk are looked at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from registry.contracts import DomainFacts, StageSpec
from udonx.common.words import display_path
from udonx.config import descriptions as components
from udonx.config.experiment import Experiment
from udonx.config.problems import Problem
from udonx.config.starts import needed_by
from udonx.evaluation.metrics import metric_problem
from udonx.inputs.open import Inputs
from udonx.planning.identity import digest, to_plain
from udonx.planning.plan import Plan, row_evaluations
from udonx.planning.stages import with_earlier
from udonx.running.model_check import ModelCheck, model_key
from udonx.running.options import RunOptions
from udonx.running.record import check_observers
from udonx.running.writers import check_writers
from udonx.store.results import Results

_ANY_BATCH = 4096  # a batch up to this size may repeat the images of a small benchmark


def check_run(
    inputs: Sequence[Inputs], plans: Sequence[Plan], options: RunOptions
) -> Iterator[Problem]:
    """What is wrong with a run beside its inputs: tracking, metrics, batches, models, disk.

    Models are looked at too of experiments that cannot be planned since some of their data or
    weights are missing, so that one report names everything.

    Args:
        inputs: of all experiments.
        plans: of those whose inputs are whole, in their order.
        options: how they are run.
    """
    for message in check_writers(options.writers):
        yield Problem(where="--writer", message=message)
    for each in inputs:
        experiment = each.experiment
        for message in check_observers(experiment.observers):
            yield Problem(where=str(experiment.path), message=message)
        for message in check_writers(experiment.writers):
            yield Problem(where=str(experiment.path), key="results.writers", message=message)
        yield from _metric_problems(experiment)
        yield from _batch_problems(experiment, each.data.facts)
    models = _wanted_models(inputs, plans, options)
    yield from models.problems()
    yield from _disk_problems(models, options.results)


def _metric_problems(experiment: Experiment) -> Iterator[Problem]:
    for name in experiment.metrics:
        if message := metric_problem(name):
            yield Problem(where=display_path(experiment.path), message=message)


def _wanted_models(
    inputs: Sequence[Inputs], plans: Sequence[Plan], options: RunOptions
) -> ModelCheck:
    """The models of all stages that are to be trained."""
    models, results, planned = ModelCheck(), Results(options.results), iter(plans)
    for each in inputs:
        prefix = f"{each.experiment.name}." if len(inputs) > 1 else ""
        if not each.whole:
            for row, spec in _rough_stages(each):
                models.add(each, digest(to_plain(spec)), spec, [prefix + row])
            continue
        plan = next(planned)
        for identity, spec in plan.stages.items():
            if options.fresh or not results.stage(identity).finished:
                models.add(each, identity, spec, [prefix + row for row in plan.users[identity]])
    return models


def _rough_stages(inputs: Inputs) -> Iterator[tuple[str, StageSpec]]:
    """(row, stage) of what can be planned although something is wrong."""
    experiment, weights = inputs.experiment, inputs.start_weights
    for row in experiment.wanted_rows():
        needed = needed_by(experiment.rows, [row.name])
        if row.skipped or any(role not in weights for one in needed for role in one.roles.values()):
            continue
        for evaluation in row_evaluations(
            experiment, row, experiment.seeds[0], weights, inputs.data.facts
        ):
            for stage in evaluation.embedders.values():
                for reached in with_earlier(stage):
                    yield row.name, reached


def _batch_problems(experiment: Experiment, facts: tuple[DomainFacts, ...]) -> Iterator[Problem]:
    """Rows whose batch no benchmark of this size can need; it would take memory without end."""
    images = sum(domain.train_images for domain in facts)
    most = max(images, _ANY_BATCH)
    rows: dict[int, list[str]] = {}
    for row in experiment.needed_rows():
        if not row.skipped and (recipe := row.spec.recipe) and recipe.budget.batch > most:
            rows.setdefault(recipe.budget.batch, []).append(row.name)
    for batch, names in rows.items():
        message = (
            f"got {batch}, allowed is at most {most}, for there are {images} training images in all"
        )
        yield Problem(
            where=experiment.setting_place, rows=tuple(names), key="budget.batch", message=message
        )


def _disk_problems(models: ModelCheck, results: Path) -> Iterator[Problem]:
    """Whether there is room for everything.

    Each stage keeps its best weights. The one that runs also has a checkpoint of weights, moments
    and an average where it has one. While a new checkpoint or new best weights are written
    the old ones are still there.
    """
    need = largest = 0
    for stage in models.wanted.values():
        spec = stage.spec
        classes = {domain.name: max(2, domain.train_classes) for domain in stage.facts}
        model = models.sizes[model_key(spec)]
        size = model.fixed + model.per_class * sum(classes[name] for name in spec.domains)
        copies = _copies(spec)
        need, largest = need + 4 * size, max(largest, (2 * copies + 1) * 4 * size)
    need += largest
    whole = results.resolve()
    anchor = next(folder for folder in (whole, *whole.parents) if folder.exists())
    free = shutil.disk_usage(anchor).free
    if free < need:
        room = f"{_gigabytes(free)} free, but up to {_gigabytes(need)} are needed"
        message = f"{display_path(results)} has {room}; free some, or give another folder"
        yield Problem(where="--results", message=message)


def _copies(spec: StageSpec) -> int:
    """How many tensors of a checkpoint are as large as the weights: these, moments, an average.

    A rule that takes task and distillation apart may have a first moment of each.
    """
    if spec.training is None:
        return 1
    update = spec.training.update
    splits = update and components.describe("updates", update.use).facts["splits_losses"]
    return 1 + (3 if splits else 2) + bool(spec.training.average)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"

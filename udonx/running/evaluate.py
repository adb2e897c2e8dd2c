"""Evaluates models on any data, other domains than they were trained on included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import attrs

from registry.contracts import EvaluationSpec
from registry.metrics import DEFAULTS, get
from udonx.common.files import folder_problem
from udonx.common.interrupts import stoppable
from udonx.common.options import as_tuple
from udonx.common.words import display_path
from udonx.config.data import DataConfig, read_data
from udonx.config.experiment import unknown_metrics
from udonx.config.merge import Layer
from udonx.config.plugins import load_plugins
from udonx.config.problems import ConfigError, Problem
from udonx.data.errors import DataError
from udonx.engine.device import choose, repeatable
from udonx.engine.errors import StageError
from udonx.engine.models import GivenModel, open_models
from udonx.inputs.load import Files, listed
from udonx.inputs.open import OpenData, image_store, open_source
from udonx.inputs.sources import data_problems
from udonx.planning.plan import Identities, PlannedEvaluation
from udonx.running.data_check import benchmark_problems
from udonx.running.evaluation import EvaluationJob, is_made, make_evaluation
from udonx.running.options import DEFAULTS as OPTIONS
from udonx.running.options import RunOptions
from udonx.running.session import Session, versions
from udonx.store.results import Results
from udonx.tables.build import about_unseen, compare_rows
from udonx.tables.content import About, Cell, MetricColumn, TableRow
from udonx.tables.table import Table

BranchName = Literal["student", "teacher", "feature"]
_ONE_MODEL = "the intervals are over the choice of queries; they say nothing of training seeds"


def evaluate(
    models: Files,
    *,
    data: str | Path | None = None,
    source: str | None = None,
    domains: Sequence[str] | None = None,
    metrics: Sequence[str] = DEFAULTS,
    weights: str | Path | None = None,
    branch: BranchName | None = None,
    tta: Literal["none", "flip"] = "none",
    results: str | Path = OPTIONS.results,
    device: str | None = None,
    workers: int | None = None,
    plugins: Sequence[str] = (),
) -> Table:
    """Evaluate models on the test splits of any data.

    What the results folder holds already is not evaluated again.

    Args:
        models: one or several, of which the first is what the others are compared with. Each is the
            folder of a finished stage (of results/stages), a folder that `export` wrote, or a
            backbone off the shelf: a folder in timm's layout, "SETTING:ROLE", or a model of timm.
        data: the folder of the data.
        source: how `data` is read, a registered source. Default: `uned` where the folder has
            `info_files`, else `folders`.
        domains: those that are searched; default: all of the data.
        metrics: the columns of the table.
        weights: the folder where start weights of backbones are looked up first.
        branch: what embeds; default: the student, else what the stage trained.
        tta: "flip" for the mean of the embeddings of an image and its mirror image.
        results: where evaluations are kept.
        device: `cpu`, `cuda` or `cuda:N`; default: the GPU where there is one.
        workers: threads that load images.
        plugins: modules or .py files to import first.

    Returns:
        A row for each model, with its difference to the first and the interval of that.

    Raises:
        ConfigError: everything that is wrong with the arguments or the data.
        StageError: something is no model, or lacks the branch.
        WeightsError: start weights of a backbone are not there.
        DamagedFileError: the files of a stage are damaged.

    Example:
        udonx.evaluate(["results/stages/0123456789abcdef", "demo:main"], data="my_photos")
    """
    load_plugins(plugins, None, where="--plugin")
    options = RunOptions(results=Path(results), device=device, workers=workers)
    session = Session(options, choose(options.device))
    metrics = tuple(dict.fromkeys(as_tuple(metrics)))
    problems = [attrs.evolve(each, key="") for each in unknown_metrics(metrics, "--metrics")]
    if message := folder_problem(options.results):
        problems.append(Problem(where="--results", message=message))
    config = _data_config(data, source, domains, problems)
    if problems:
        raise ConfigError(problems)
    given = open_models(listed(models), None if weights is None else Path(weights))
    with repeatable(session.device), stoppable():
        opened = _open_data(config)
        identities = Identities(opened.benchmark)
        rows = []
        for model, planned in [(each, _plan(each, branch, tta, identities)) for each in given]:
            if not is_made(planned, metrics, session.results):
                make_evaluation(
                    EvaluationJob(
                        evaluation=planned,
                        models=dict.fromkeys(planned.stages.values(), model.source),
                        identities=identities,
                        images=opened.images,
                        metrics=metrics,
                        session=session,
                        title=f"{model.label}: evaluation",
                    )
                )
            rows.append(_table_row(model, planned, metrics, session.results))
    return _table(given, rows, metrics, opened, session.results)


def _data_config(
    folder: str | Path | None,
    source: str | None,
    domains: Sequence[str] | None,
    problems: list[Problem],
) -> DataConfig:
    """Where the images come from; what is wrong with it is added to `problems`."""
    if folder is None and source is None:
        message = "it is missing; give a folder of images, or --source demo"
        problems.append(Problem(where="--data", message=message))
        return DataConfig()
    if source is None:
        is_uned = (Path(str(folder)) / "info_files").is_dir()
        source = "uned" if is_uned else "folders"
    wanted = {"domains": list(as_tuple(domains))} if domains else {}
    layer = Layer(where="--source", prefix="", data={"data": {"source": source, **wanted}})
    found: list[Problem] = []
    config = read_data([layer], folder, found)
    problems += found or data_problems("--data", config)
    return config


def _open_data(config: DataConfig) -> OpenData:
    """The data, opened.

    Raises:
        ConfigError: everything that is wrong with its test splits.
    """
    try:
        benchmark = open_source(config)
    except DataError as error:
        raise ConfigError([Problem(where="--data", message=str(error))]) from error
    found = [
        Problem(where="--data", message=message)
        for _, message in benchmark_problems(benchmark, trained=())
    ]
    if found:
        raise ConfigError(found)
    return OpenData(benchmark, image_store(config, benchmark))


def _plan(
    model: GivenModel,
    branch: BranchName | None,
    tta: Literal["none", "flip"],
    identities: Identities,
) -> PlannedEvaluation:
    """The evaluation of a model, with the identity that `run` would give it on the same data.

    Raises:
        StageError: the model lacks the branch, or has no teacher of a domain.
    """
    heads = {"student": model.spec.student_head, "teacher": model.spec.teacher_head}
    branches = [*(name for name, head in heads.items() if head is not None), "feature"]
    chosen, where = branch or branches[0], model.name
    if chosen not in branches:
        raise StageError(
            f"{where} has no branch '{chosen}'; it has {', '.join(branches)}: give one of them"
            " with --branch"
        )
    domains = identities.benchmark.domains
    unknown = [name for name in domains if name not in model.spec.domains]
    if chosen == "teacher" and unknown:
        raise StageError(
            f"{where} has no teacher of {', '.join(unknown)}, only of"
            f" {', '.join(model.spec.domains)}: name domains that it knows with --domain, or use"
            f" --branch {' or '.join(name for name in branches if name != 'teacher')}"
        )
    stage = model.spec if model.id else attrs.evolve(model.spec, domains=domains)
    stages = dict.fromkeys(domains, model.id or identities.stage(stage))
    spec = EvaluationSpec(
        branch=chosen,
        embedders=dict.fromkeys(domains, stage),
        tta=None if tta == "none" else tta,
    )
    return PlannedEvaluation(id=identities.evaluation(spec, stages), spec=spec, stages=stages)


def _table_row(
    model: GivenModel, planned: PlannedEvaluation, metrics: Sequence[str], results: Results
) -> TableRow:
    stored = results.read_evaluation(planned.id)
    assert stored is not None, "it was there, or was just made"
    index, figures = stored.figures(own_index=False)
    names, branch = list(dict.fromkeys((*DEFAULTS, *metrics))), planned.spec.branch
    return TableRow(
        name=model.row,
        label=_shown_label(model, planned.spec),
        branch=branch,
        index=index,
        backbone="",  # whatever their backbones, models are compared with the first
        reference=False,
        seeds=(None,),
        metrics={name: Cell.of([figures.means[name]]) for name in names},
        per_seed={name: (figures.means[name],) for name in names},
        differences={},
        per_domain={
            name: {
                domain: Cell.of([means.means[name]]) for domain, means in figures.per_domain.items()
            }
            for name in names
        },
        own_metrics={name: Cell.of([stored.own.means[name]]) for name in names},
        best_steps=(None,),
        steps=None,  # of a stage with teachers they would be a part only
        images=None,
        minutes=None,
        evaluations=(planned.id,),
        stages=tuple(dict.fromkeys(planned.stages.values())),
        unseen=()
        if model.learned is None
        else tuple(name for name in planned.stages if name not in model.learned),
    )


def _shown_label(model: GivenModel, spec: EvaluationSpec) -> str:
    branch = "" if spec.branch == "student" else f": {spec.branch}"
    return f"{model.label}{branch}{f', {spec.tta}' if spec.tta else ''}"


def _table(
    models: Sequence[GivenModel],
    rows: Sequence[TableRow],
    metrics: Sequence[str],
    opened: OpenData,
    results: Results,
) -> Table:
    columns = tuple(MetricColumn(name=name, label=get(name).label) for name in metrics)
    compared, notes = compare_rows(rows, columns, results)
    benchmark = opened.benchmark
    return Table(
        title="Models",
        setting=display_path(benchmark.origin),
        domains=tuple(
            name for name in benchmark.domains if benchmark.query_index(name, "test") is not None
        ),
        metrics=columns,
        rows=tuple(compared),
        missing=(),
        footer=(
            *_trained_on(models),
            *about_unseen(compared, columns[0]),
            *([_ONE_MODEL] if any(row.interval for row in compared) else []),
            *notes,
        ),
        about=About(
            data=benchmark.origin,
            versions=tuple(f"{name} {version}" for name, version in versions().items()),
        ),
    )


def _trained_on(models: Sequence[GivenModel]) -> Iterator[str]:
    """Which domains each model learned from; one line for those of the same domains."""
    labels: dict[tuple[str, ...], list[str]] = {}
    for model in models:
        if model.learned is not None:
            labels.setdefault(tuple(sorted(model.learned)), []).append(model.label)
    for domains, those in labels.items():
        yield f"trained on {', '.join(domains)}: {'; '.join(those)}"

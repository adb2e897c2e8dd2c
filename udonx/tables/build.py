"""From stored evaluations to a table.

Rows over their seeds, differences with their intervals, and the notes beside them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import attrs

from registry import metrics as registered
from udonx.common.files import DamagedFileError
from udonx.config.experiment import Experiment
from udonx.evaluation.metrics import Means
from udonx.planning.plan import Plan, PlannedEvaluation, PlannedRow
from udonx.planning.stages import learned_domains
from udonx.store.results import Results, StoredEvaluation
from udonx.store.stage import Done
from udonx.tables.compare import Comparisons
from udonx.tables.content import (
    OTHER_SEEDS,
    R1,
    REPORTED,
    UNSEEN,
    About,
    Cell,
    MetricColumn,
    ReportedRow,
    TableRow,
)
from udonx.tables.groups import all_seeds, common_seeds, first_rows, group_of, on_other_seeds
from udonx.tables.table import Table

_Found = tuple[PlannedRow, PlannedEvaluation, StoredEvaluation]


def build_table(
    plan: Plan, results: Results, failed: Mapping[str, str] = MappingProxyType({})
) -> Table:
    """The table from what is stored.

    It has every row of the plan, over those of its seeds that have been evaluated.

    Args:
        plan: the rows and seeds.
        results: what is stored. An evaluation that is damaged counts as not made, and is named.
        failed: what this call could not make, such as "UDON, seed 1", and why, in one sentence.
    """
    experiment, domains = plan.experiment, plan.benchmark.domains
    grouped, damaged = _stored(plan, results)
    order = {row.name: number for number, row in enumerate(experiment.rows)}
    lines = [
        _table_row(group, plan, results)
        for _, group in sorted(grouped.items(), key=lambda item: (order[item[0][0]], item[0][1]))
    ]
    lines.sort(key=lambda row: row.reference)
    metrics = tuple(
        MetricColumn(name=name, label=registered.get(name).label) for name in experiment.metrics
    )
    lines, no_interval = compare_rows(lines, metrics, results)
    waiting = dict.fromkeys(
        planned.row.label
        for planned in plan.rows
        if planned.row.name not in {name for name, _ in grouped}
    )
    reported = _reported(experiment, domains)
    about = _about(plan, [stored for group in grouped.values() for _, _, stored in group])
    return Table(
        title=experiment.title,
        setting=experiment.setting,
        domains=domains,
        metrics=metrics,
        rows=tuple(lines),
        missing=(
            *experiment.skipped(len(domains)),
            *([f"not run yet: {'; '.join(waiting)}"] if waiting else []),
            *_not_computed(lines, experiment),
            *damaged,
            *_on_other_seeds(lines),
            *_about_stages(lines, plan, results),
            *(f"failed: {what}: {why}" for what, why in failed.items()),
        ),
        footer=(
            *([_seeds_and_weights(lines, about)] if lines else []),
            *_question(experiment, about),
            *_untested(plan),
            *_about_own_index(lines),
            *about_unseen(lines, metrics[0]),
            *_about_one_seed(lines),
            *no_interval,
            *_about_reported(reported),
        ),
        about=about,
        reported=reported,
    )


def _reported(experiment: Experiment, domains: Sequence[str]) -> tuple[ReportedRow, ...]:
    """The figures from elsewhere that have a column in the table."""
    rows = []
    for row in experiment.wanted_rows():
        if row.skipped or row.reported is None:
            continue
        means = row.reported.means
        per_domain = {
            name: {domain: values[domain] for domain in domains if domain in values}
            for name, values in row.reported.per_domain.items()
            if name in experiment.metrics
        }
        shown = ReportedRow(
            name=row.name,
            label=row.label_for(len(domains)),
            reference=row.reference,
            source=row.reported.source,
            metrics={name: means[name] for name in experiment.metrics if name in means},
            per_domain={name: values for name, values in per_domain.items() if values},
        )
        if shown.metrics or shown.per_domain:
            rows.append(shown)
    return tuple(rows)


def _about_reported(rows: Sequence[ReportedRow]) -> list[str]:
    """Where figures from elsewhere stand; one line for all of them."""
    if not rows:
        return []
    labels: dict[str, list[str]] = {}
    for row in rows:
        labels.setdefault(row.source or "no source given", []).append(row.label)
    sources = "; ".join(f"{', '.join(those)}: {source}" for source, those in labels.items())
    return [f"{REPORTED} reported elsewhere, neither measured here nor compared ({sources})"]


def _stored(plan: Plan, results: Results) -> tuple[dict[tuple[str, int], list[_Found]], list[str]]:
    """What is stored of each row's evaluations, and a sentence for each that is damaged.

    They are grouped by row and position, a seed after the other.
    """
    grouped: dict[tuple[str, int], list[_Found]] = {}
    damaged = []
    for planned in plan.rows:
        for position, evaluation in enumerate(planned.evaluations):
            try:
                stored = results.read_evaluation(evaluation.id)
            except DamagedFileError as error:
                seed = "" if planned.seed is None else f", seed {planned.seed}"
                damaged.append(f"{planned.row.label}{seed}: {error}")
                continue
            if stored is not None:
                grouped.setdefault((planned.row.name, position), []).append(
                    (planned, evaluation, stored)
                )
    return grouped, list(dict.fromkeys(damaged))


def _table_row(group: list[_Found], plan: Plan, results: Results) -> TableRow:
    planned, evaluation, first = group[0]
    index = first.figures(own_index=planned.row.own_index)[0]
    measured = [stored.figures(own_index=planned.row.own_index)[1] for _, _, stored in group]
    metrics = _there([stored for _, _, stored in group], plan.experiment.metrics)
    done = [taken for row, _, _ in group if (taken := _all_done(results, row.stages)) is not None]
    whole = len(done) == len(group)
    alone = len(planned.evaluations) == 1 or evaluation.spec.branch == "student"
    chosen = [_choice(evaluation, plan, results) for _, evaluation, _ in group]
    validated = [r1 for _, r1 in chosen if r1 is not None]
    return TableRow(
        name=planned.row.name,
        label=planned.row.label if alone else f"{planned.row.label}: {evaluation.spec.branch}",
        branch=evaluation.spec.branch,
        index=index,
        backbone=planned.row.backbone,
        reference=planned.row.reference,
        seeds=tuple(row.seed for row, _, _ in group),
        metrics=_cells(metrics, measured),
        per_seed={name: tuple(figures.means[name] for figures in measured) for name in metrics},
        differences={},
        per_domain={
            name: {
                domain: Cell.of([figures.per_domain[domain].means[name] for figures in measured])
                for domain in measured[0].per_domain
            }
            for name in metrics
        },
        own_metrics=_cells(metrics, [stored.own for _, _, stored in group]),
        best_steps=tuple(step for step, _ in chosen),
        validation=Cell.of(validated) if len(validated) == len(group) else None,
        steps=sum(stage.steps for stage in done[0]) if whole else None,
        images=sum(stage.images for stage in done[0]) if whole else None,
        minutes=(
            statistics.fmean(sum(stage.seconds for stage in stages) for stages in done) / 60
            if whole
            else None
        ),
        evaluations=tuple(evaluation.id for _, evaluation, _ in group),
        stages=tuple(dict.fromkeys(stage for row, _, _ in group for stage in row.stages)),
        unseen=tuple(
            domain
            for domain, stage in evaluation.spec.embedders.items()
            if (learned := learned_domains(stage)) is not None and domain not in learned
        ),
    )


def _there(group: Sequence[StoredEvaluation], metrics: Iterable[str]) -> list[str]:
    """R@1, mMP@5 and those of `metrics` that every evaluation holds."""
    names = dict.fromkeys((*registered.DEFAULTS, *metrics))
    lacking = {name for stored in group for name in stored.lacking(names)}
    return [name for name in names if name in registered.DEFAULTS or name not in lacking]


def _cells(metrics: Iterable[str], seeds: Sequence[Means]) -> dict[str, Cell]:
    """A cell over seeds for each metric."""
    return {name: Cell.of([figures.means[name] for figures in seeds]) for name in metrics}


def _not_computed(lines: Sequence[TableRow], experiment: Experiment) -> list[str]:
    """Which metrics the stored evaluations of which rows lack, and what computes them."""
    labels: dict[str, list[str]] = {}
    for row in lines:
        if lacking := [name for name in experiment.metrics if name not in row.metrics]:
            what = ", ".join(registered.get(name).label for name in lacking)
            labels.setdefault(what, []).append(row.label)
    cure = "`udonx run` with the same arguments evaluates again, and trains nothing"
    return [f"no {what} yet of {'; '.join(rows)}: {cure}" for what, rows in labels.items()]


def _choice(
    evaluation: PlannedEvaluation, plan: Plan, results: Results
) -> tuple[int | None, float | None]:
    """The step that validation chose for an evaluation's embedders, and its R@1 there.

    R@1 is the mean over them. Both are None where validation chose nothing, or looked at another
    branch; there is no step where there are several embedders.
    """
    steps, r1s = [], []
    for stage in dict.fromkeys(evaluation.stages.values()):
        done, spec = _done(results, stage), plan.stages[stage]
        validated = "teacher" if spec.student_head is None else "student"
        if (
            done is None
            or done.best_r1 is None
            or done.best_r1 < 0
            or evaluation.spec.branch != validated
        ):
            return None, None
        steps.append(done.best_step)
        r1s.append(done.best_r1)
    return (steps[0] if len(steps) == 1 else None), statistics.fmean(r1s)


def _done(results: Results, stage: str) -> Done | None:
    """What a stage took; None where it is not finished or damaged, which `_about_stages` says."""
    try:
        return results.stage(stage).done
    except DamagedFileError:
        return None


def _all_done(results: Results, stages: Sequence[str]) -> list[Done] | None:
    """What stages took; None where any is not finished or damaged."""
    found = [done for stage in stages if (done := _done(results, stage)) is not None]
    return found if len(found) == len(stages) else None


def compare_rows(
    lines: Sequence[TableRow], shown: Sequence[MetricColumn], results: Results
) -> tuple[list[TableRow], list[str]]:
    """Compare each row with the first of its index and backbone.

    Args:
        lines: the rows.
        shown: the metrics that are compared beside R@1.
        results: where the per-query results lie.

    Returns:
        The rows with their differences and intervals, and notes on intervals that are not there.
    """
    firsts, comparisons = first_rows(lines), Comparisons(results)
    metrics = dict.fromkeys((R1, *shown))
    compared = []
    for row in lines:
        if not row.reference and row is not firsts[group_of(row)]:
            first = firsts[group_of(row)]
            found = {one.name: comparisons.compare(row, first, one) for one in metrics}
            row = attrs.evolve(
                row, differences={name: one for name, one in found.items() if one is not None}
            )
        compared.append(row)
    return compared, comparisons.notes()


def _about(plan: Plan, stored: Iterable[StoredEvaluation]) -> About:
    """Where the figures come from."""
    experiment = plan.experiment
    versions: dict[str, list[str]] = {}
    for evaluation in stored:
        for name, version in evaluation.versions.items():
            versions.setdefault(name, []).append(version)
    return About(
        file=str(experiment.path.resolve()),
        data=plan.benchmark.origin,
        overrides=experiment.overrides,
        plugins=experiment.plugins,
        start_weights=tuple(
            f"{role} {start.source} ({start.sha256[:12]})"
            for role, start in plan.start_weights.items()
        ),
        versions=tuple(
            f"{name} {' and '.join(sorted(set(found)))}" for name, found in sorted(versions.items())
        ),
    )


def _seeds_and_weights(lines: Sequence[TableRow], about: About) -> str:
    seeds = all_seeds(lines)
    which = _seeds(seeds) if seeds else "no seed: nothing in it is random"
    return f"{which}; start weights: {'; '.join(about.start_weights)}"


def _question(experiment: Experiment, about: About) -> list[str]:
    """What makes this table another one than the file's own on the setting's own data."""
    data = [f"data: {about.data}"] if experiment.data.root else []
    return [
        *data,
        *([f"changed with --set: {'; '.join(about.overrides)}"] if about.overrides else []),
    ]


def _untested(plan: Plan) -> list[str]:
    names = [
        name for name in plan.benchmark.domains if plan.benchmark.query_index(name, "test") is None
    ]
    have = "has" if len(names) == 1 else "have"
    return (
        [f"means are over the other domains: {', '.join(names)} {have} no test split"]
        if names
        else []
    )


def _on_other_seeds(lines: Sequence[TableRow]) -> list[str]:
    """Which rows' means do not stand beside the others', and why."""
    partial = [row for row, other in zip(lines, on_other_seeds(lines), strict=True) if other]
    apart = (
        "so its means are not over the same seeds as those of the other rows; a difference is over"
        " the seeds that both rows have"
    )
    return [
        f"{OTHER_SEEDS} {row.label}: only {_seeds(row.seeds)} so far, {apart}" for row in partial
    ]


def _about_stages(lines: Sequence[TableRow], plan: Plan, results: Results) -> list[str]:
    """What is wrong with stages behind the rows that are shown, and which rows lack one."""
    folders = {stage: results.stage(stage) for row in plan.rows for stage in row.stages}
    problems = [problem for folder in folders.values() if (problem := folder.problem)]
    gone = [
        row.label
        for row in lines
        if any(stage in folders and not folders[stage].finished for stage in row.stages)
    ]
    what = (
        "a stage that it was evaluated with is gone, so its steps and minutes are not known; `udonx"
        " run` trains it again"
    )
    return [*problems, *([f"{'; '.join(gone)}: {what}"] if gone else [])]


def _seeds(seeds: Sequence[int | None]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _about_own_index(rows: Sequence[TableRow]) -> list[str]:
    """Which rows search each query in its own domain only."""
    own = [row.label for row in rows if row.index == "own"]
    if len(own) == len(rows):
        return (
            ["own-domain index: in every row each query is searched in its own domain only"]
            if own
            else []
        )
    searched = "each query is searched in its own domain only; not comparable with the other rows"
    return [f"* own-domain index ({', '.join(own)}): {searched}"] if own else []


def about_unseen(rows: Sequence[TableRow], metric: MetricColumn) -> list[str]:
    """What the marks of unseen domains are, and a metric's mean over both kinds of domains."""
    apart = [row for row in rows if row.unseen]
    if not apart:
        return []
    means = [
        f"{row.label} {100 * seen:.1f} and {100 * unseen:.1f}"
        for row in apart
        if (seen := row.mean_over(metric.name, unseen=False)) is not None
        and (unseen := row.mean_over(metric.name, unseen=True)) is not None
    ]
    return [
        f"{UNSEEN} a domain that the row was not trained on; every other mean is over all domains",
        *(
            [f"mean {metric.label} over the domains trained on, and the others: {'; '.join(means)}"]
            if means
            else []
        ),
    ]


def _about_one_seed(rows: Sequence[TableRow]) -> list[str]:
    """Which intervals say nothing of training."""
    firsts = first_rows(rows)
    compared = [row for row in rows if row.interval is not None]
    single = [row.label for row in compared if common_seeds(row, firsts[group_of(row)]) == 1]
    which = "" if len(single) == len(compared) else f" in {', '.join(single)}"
    return (
        [f"one seed{which}: the interval covers the choice of queries, not of training seed"]
        if single
        else []
    )

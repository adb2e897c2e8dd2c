"""A table: a view over the stored evaluations of an experiment's rows and seeds. On screen, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import statistics
import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from udonx.engine.folder import Done
from udonx.files import DamagedFileError, write_atomic
from udonx.plan import Plan, PlannedEvaluation, PlannedRow
from udonx.results.bootstrap import LEVEL
from udonx.results.compare import Comparisons, common_seeds, first_rows, group_of
from udonx.results.store import Results

_WIDTH = 100
_NARROWEST = 4  # letters of a domain's name
_SHORTEST_LABEL = 10
_INDEXES = {"merged": "merged index", "own": "own-domain index *"}


@attrs.frozen(kw_only=True)
class Cell:
    """A figure over seeds, as fractions: mean and sample standard deviation (None for one seed).

    >>> Cell.of([0.5, 0.6]).spell(), Cell.of([0.5]).spell()
    ('55.0 ± 7.1', '50.0')
    """

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: list[float]) -> Cell:
        """The cell of one value per seed."""
        return cls(mean=statistics.fmean(values), std=statistics.stdev(values) if len(values) > 1 else None)

    def spell(self, gap: str = " ") -> str:
        """Percent with one decimal."""
        text = f"{100 * self.mean:.1f}"
        return text if self.std is None else f"{text}{gap}±{gap}{100 * self.std:.1f}"


@attrs.frozen(kw_only=True)
class TableRow:
    """One line of a table. `index` is "merged", or "own" where each domain is searched alone; figures are fractions.

    `difference` is R@1 minus that of the first row with the same index and backbone, at the same seeds and queries; `interval` is its
    95 % interval (bootstrap.py).
    """

    name: str
    label: str
    branch: str
    index: str
    backbone: str
    reference: bool
    seeds: tuple[int | None, ...]
    r1: Cell
    r1_per_seed: tuple[float, ...]
    mmp5: Cell
    difference: float | None
    interval: tuple[float, float] | None
    r1_per_domain: dict[str, Cell]
    mmp5_per_domain: dict[str, Cell]
    own_r1: Cell
    own_mmp5: Cell
    steps: int
    images: int
    minutes: float
    evaluations: tuple[str, ...]
    stages: tuple[str, ...]

    @property
    def unclear(self) -> bool:
        """Whether the interval of the difference contains zero."""
        return self.interval is not None and self.interval[0] <= 0 <= self.interval[1]


@attrs.frozen(kw_only=True)
class Table:
    """A table with its title, its footer and the rows that are not there, with the reason."""

    title: str
    setting: str
    domains: tuple[str, ...]
    rows: tuple[TableRow, ...]
    missing: tuple[str, ...]
    footer: tuple[str, ...]

    def to_text(self) -> str:
        """For the screen, at most 100 columns: one decimal, names cut to fit, no ± per domain; domains that find no room are left out."""
        stars = _marks([row.index == "own" for row in self.rows], "*" if self._mixed else "")
        tildes = _marks([row.unclear for row in self.rows], "~")
        left = [["", "R@1" + stars[0], "mMP@5", "diff" + tildes[0]]]
        for row, star, tilde in zip(self.rows, stars[1:], tildes[1:], strict=True):
            left.append([row.label, row.r1.spell("") + star, row.mmp5.spell(""), _points(row.difference) + tilde])
        middle = [[_mean(row.r1_per_domain.get(name)) for name in self.domains] for row in self.rows]
        right = [["steps", "min"], *([str(row.steps), f"{row.minutes:.1f}"] for row in self.rows)]
        (label, *figures), ends = _widths(left), _widths(right)
        room = _WIDTH - sum(figures) - sum(ends) - len(figures) - len(ends)  # for the label, and for each domain a blank and its column
        narrow = [max(_NARROWEST, width) for width in _widths(middle)] if middle else [_NARROWEST] * len(self.domains)
        while narrow and min(label, _SHORTEST_LABEL) + sum(narrow) + len(narrow) > room:
            narrow.pop()
        label = min(label, room - sum(narrow) - len(narrow))
        spare = (room - label - sum(narrow) - len(narrow)) // max(1, len(narrow))
        wide = [max(width, min(len(name), width + spare)) for name, width in zip(self.domains, narrow, strict=False)]
        widths = [label, *figures, *wide, *ends]
        rule = "-" * (sum(widths) + len(widths) - 1)
        ranked = len(self.rows) - sum(row.reference for row in self.rows)
        lines = [f"{self.title}  ({self.setting})"]
        for position, (first, domains, last) in enumerate(zip(left, [list(self.domains), *middle], right, strict=True)):
            if position in (1, ranked + 1):
                lines.append(rule)
            name, *cells = [*first, *domains[: len(wide)], *last]
            texts = [text[:width].rjust(width) for text, width in zip(cells, widths[1:], strict=True)]
            lines.append(" ".join([name[:label].ljust(label), *texts]).rstrip())
        left_out = self.domains[len(wide) :]
        notes = [*self.missing, *self.footer, *([f"without room here: {', '.join(left_out)}"] if left_out else [])]
        return "\n".join([*lines, *self._intervals(), *(textwrap.fill(note, _WIDTH, subsequent_indent="  ") for note in notes)])

    @property
    def _mixed(self) -> bool:
        """Whether rows of both indexes are there."""
        return len({row.index for row in self.rows}) > 1

    @property
    def _grouped(self) -> bool:
        """Whether any difference is to another row than the table's first: to the first of its index or backbone."""
        firsts = first_rows(self.rows)
        return any(firsts[group_of(row)] is not self.rows[0] for row in self.rows if row.interval is not None)

    def _method(self, subject: str) -> str:
        """What the intervals are, in one line; empty where there is none."""
        compared = [row for row in self.rows if row.interval is not None]
        if not compared:
            return ""
        firsts = first_rows(self.rows)
        over = "seeds and queries" if any(common_seeds(row, firsts[group_of(row)]) > 1 for row in compared) else "queries"
        zero = "; ~ contains zero" if any(row.unclear for row in compared) else ""
        return f"{subject}, {100 * LEVEL:.0f} % interval (paired bootstrap over {over}){zero}"

    def _intervals(self) -> list[str]:
        """The differences with their intervals, for the screen; row by row, or group by group where there are several."""
        compared = [row for row in self.rows if row.interval is not None]
        if not compared:
            return []
        points, lows, highs = (_right(column) for column in zip(*map(_figures, compared), strict=True))
        figures = [f"  {point}  [{low}, {high}]" for point, low, high in zip(points, lows, highs, strict=True)]
        indent = "    " if self._grouped else "  "
        width = min(max(len(row.label) for row in compared), _WIDTH - len(indent) - len(figures[0]) - len(" ~"))
        lines = [self._method("differences in R@1" if self._grouped else "R@1 minus the first row's")]
        for group, first in first_rows(self.rows).items():
            block = [(row, figure) for row, figure in zip(compared, figures, strict=True) if group_of(row) == group]
            if block and self._grouped:
                index = f", {_INDEXES[first.index]}" if self._mixed else ""
                lines.append(f"  minus {first.label[: _WIDTH - len(f'  minus {index}')]}{index}")
            lines += [f"{indent}{row.label[:width]:{width}}{figure}{' ~' * row.unclear}" for row, figure in block]
        return lines

    def to_markdown(self) -> str:
        """Everything, ± per domain included."""
        header = ["row", "index", "R@1", "mMP@5", "diff R@1"]
        header += [f"{name} {figure}" for figure in ("R@1", "mMP@5") for name in self.domains] + ["steps", "images", "minutes"]
        lines = [f"# {self.title} ({self.setting})", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        for row in self.rows:
            cells = [row.label, row.index, row.r1.spell(), row.mmp5.spell(), _with_interval(row)]
            for figures in (row.r1_per_domain, row.mmp5_per_domain):
                cells += [figures[name].spell() if name in figures else "-" for name in self.domains]
            lines.append(f"| {' | '.join([*cells, str(row.steps), str(row.images), f'{row.minutes:.1f}'])} |")
        same = " with the same index and backbone" if self._grouped else ""
        method = self._method(f"diff R@1: R@1 minus that of the first row{same}")
        notes = [*([method] if method else []), *self.missing, *self.footer]
        starred = [note.replace("*", r"\*") for note in notes]  # a line that begins with a star would be a list within the list
        return "\n".join([*lines, "", *(f"- {note}" for note in starred), ""])

    def to_csv(self) -> str:
        """One line per row, figures as unrounded fractions."""
        header = ["row", "label", "branch", "index", "backbone", "reference", "seeds", "r1", "r1_std", "mmp5", "mmp5_std"]
        header += ["difference", "difference_low", "difference_high"]
        header += ["own_index_r1", "own_index_mmp5"]
        header += [f"{name}_{figure}" for name in self.domains for figure in ("r1", "r1_std", "mmp5", "mmp5_std")]
        header += ["steps", "images", "minutes"]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(header)
        for row in self.rows:
            seeds = " ".join(str(seed) for seed in row.seeds if seed is not None)
            line: list[Any] = [row.name, row.label, row.branch, row.index, row.backbone, row.reference, seeds]
            line += [row.r1.mean, row.r1.std, row.mmp5.mean, row.mmp5.std]
            line += [row.difference, *(row.interval or (None, None)), row.own_r1.mean, row.own_mmp5.mean]
            for name in self.domains:
                for figures in (row.r1_per_domain, row.mmp5_per_domain):
                    cell = figures.get(name)
                    line += [cell.mean, cell.std] if cell else [None, None]
            writer.writerow([*line, row.steps, row.images, row.minutes])
        return buffer.getvalue()

    def to_json(self) -> str:
        """Everything, with the ids of evaluations and stages behind each row."""
        return json.dumps(attrs.asdict(self), indent=1)

    def row(self, name: str) -> TableRow:
        """The first line of a row, by the row's name. Raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r} is no row of this table; there are {', '.join(row.name for row in self.rows) or 'none'}")


def build_table(plan: Plan, results: Results, failed: Mapping[str, str] = MappingProxyType({})) -> Table:
    """The table from what is stored: every row of the plan, over those of its seeds that have been evaluated.

    Args:
        plan: the rows and seeds.
        results: what is stored.
        failed: what this call could not make, such as "UDON, seed 1", and why, in one sentence.
    """
    experiment = plan.experiment
    grouped: dict[tuple[str, int], list[tuple[PlannedRow, PlannedEvaluation, dict[str, Any]]]] = {}
    missing = dict(enumerate(experiment.skipped(len(plan.benchmark.domains))))
    for planned in plan.rows:
        for position, evaluation in enumerate(planned.evaluations):
            stored = results.read_evaluation(evaluation.id)
            if stored is not None:
                grouped.setdefault((planned.row.name, position), []).append((planned, evaluation, stored))
    found = {name for name, _ in grouped}
    if waiting := dict.fromkeys(planned.row.label for planned in plan.rows if planned.row.name not in found):
        missing["waiting"] = f"not run yet: {'; '.join(waiting)}"
    order = {row.name: number for number, row in enumerate(experiment.rows)}
    lines = [_table_row(group, results) for _, group in sorted(grouped.items(), key=lambda item: (order[item[0][0]], item[0][1]))]
    lines.sort(key=lambda row: row.reference)
    firsts, comparisons = first_rows(lines), Comparisons(results)
    for position, row in enumerate(lines):
        if not row.reference and row is not firsts[group_of(row)]:
            difference, interval = comparisons.compare(row, firsts[group_of(row)])
            lines[position] = attrs.evolve(row, difference=difference, interval=interval)
    seeds = sorted({seed for row in lines for seed in row.seeds if seed is not None})
    partial = [row for row in lines if row.seeds != (None,) and len(row.seeds) < len(seeds)]
    missing |= {f"{row.name}/{row.branch}": f"{row.label}: only seed{_these(row.seeds)} so far" for row in partial}
    damaged = {stage: results.stage(stage).problem for row in plan.rows for stage in row.stages}
    missing |= {f"damaged/{stage}": why for stage, why in damaged.items() if why}
    missing |= {f"failed/{what}": f"failed: {what}: {why}" for what, why in failed.items()}
    start = "; ".join(f"{role} {weights.source} ({weights.sha256[:12]})" for role, weights in plan.weights.items())
    which = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" if seeds else "no seed: nothing in it is random"
    footer = [f"{which}; start weights: {start}"] if lines else []
    untested = [name for name in plan.benchmark.domains if plan.benchmark.query_index(name, "test") is None]
    if untested:
        footer.append(f"means are over the other domains: {', '.join(untested)} {'has' if len(untested) == 1 else 'have'} no test split")
    footer += [*_about_own_index(lines), *_about_one_seed(lines), *comparisons.notes()]
    return Table(
        title=experiment.title,
        setting=experiment.variant,
        domains=plan.benchmark.domains,
        rows=tuple(lines),
        missing=tuple(missing.values()),
        footer=tuple(footer),
    )


def _these(seeds: tuple[int | None, ...]) -> str:
    return f"{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _about_own_index(rows: list[TableRow]) -> list[str]:
    """Which rows search each query in its own domain only."""
    own = [row.label for row in rows if row.index == "own"]
    if len(own) == len(rows):
        return ["own-domain index: in every row each query is searched in its own domain only"] if own else []
    searched = "each query is searched in its own domain only; not comparable with the other rows"
    return [f"* own-domain index ({', '.join(own)}): {searched}"] if own else []


def _about_one_seed(rows: list[TableRow]) -> list[str]:
    """Which intervals say nothing of training."""
    firsts = first_rows(rows)
    compared = [row for row in rows if row.interval is not None]
    single = [row.label for row in compared if common_seeds(row, firsts[group_of(row)]) == 1]
    which = "" if len(single) == len(compared) else f" in {', '.join(single)}"
    return [f"one seed{which}: the interval covers the choice of queries, not of training seed"] if single else []


def _widths(lines: list[list[str]]) -> list[int]:
    return [max(len(text) for text in column) for column in zip(*lines, strict=True)]


def _right(texts: list[str]) -> list[str]:
    """Texts of one width, to the right."""
    return [text.rjust(max(map(len, texts))) for text in texts]


def _marks(marked: list[bool], mark: str) -> list[str]:
    """What stands behind a column's header and its figures: the mark, or a blank in its place; nothing where nothing is marked."""
    return [(mark if here else " ") if any(marked) and mark else "" for here in (False, *marked)]


def _figures(row: TableRow) -> list[str]:
    """The difference and the ends of its interval."""
    return [_points(value) for value in (row.difference, *(row.interval or ()))]


def _with_interval(row: TableRow) -> str:
    if row.interval is None:
        return _points(row.difference)
    point, low, high = _figures(row)
    return f"{point} [{low}, {high}]{' ~' * row.unclear}"


def _points(difference: float | None) -> str:
    return "" if difference is None else f"{100 * difference:+.1f}"


def _mean(cell: Cell | None) -> str:
    return "-" if cell is None else f"{100 * cell.mean:.1f}"


def _table_row(group: list[tuple[PlannedRow, PlannedEvaluation, dict[str, Any]]], results: Results) -> TableRow:
    planned, evaluation, first = group[0]
    index = "merged" if first["merged"] and not planned.row.own_index else "own"
    measured = [stored[index] for _, _, stored in group]
    own = [stored["own"] for _, _, stored in group]
    done = [[found for stage in row.stages if (found := _done(results, stage))] for row, _, _ in group]
    alone = len(planned.evaluations) == 1 or evaluation.spec.branch == "student"
    label = planned.row.label if alone else f"{planned.row.label}: {evaluation.spec.branch}"
    domains = list(first[index]["per_domain"])
    return TableRow(
        name=planned.row.name,
        label=label,
        branch=evaluation.spec.branch,
        index=index,
        backbone=planned.row.backbone,
        reference=planned.row.reference,
        seeds=tuple(row.seed for row, _, _ in group),
        r1=Cell.of([figures["r1"] for figures in measured]),
        r1_per_seed=tuple(figures["r1"] for figures in measured),
        mmp5=Cell.of([figures["mmp5"] for figures in measured]),
        difference=None,
        interval=None,
        r1_per_domain={name: Cell.of([figures["per_domain"][name]["r1"] for figures in measured]) for name in domains},
        mmp5_per_domain={name: Cell.of([figures["per_domain"][name]["mmp5"] for figures in measured]) for name in domains},
        own_r1=Cell.of([figures["r1"] for figures in own]),
        own_mmp5=Cell.of([figures["mmp5"] for figures in own]),
        steps=sum(stage.steps for stage in done[0]),
        images=sum(stage.images for stage in done[0]),
        minutes=statistics.fmean(sum(stage.seconds for stage in stages) for stages in done) / 60,
        evaluations=tuple(evaluation.id for _, evaluation, _ in group),
        stages=tuple(dict.fromkeys(stage for row, _, _ in group for stage in row.stages)),
    )


def _done(results: Results, stage: str) -> Done | None:
    """What a stage took; None where it is not finished or damaged, which `build_table` says."""
    try:
        return results.stage(stage).done
    except DamagedFileError:
        return None


def write_table(table: Table, plan: Plan, results: Results) -> None:
    """Write table.md, table.csv and table.json."""
    folder = results.table(plan.experiment.name, plan.experiment.variant)
    for name, text in (("table.md", table.to_markdown()), ("table.csv", table.to_csv()), ("table.json", table.to_json())):
        write_atomic(folder / name, text)

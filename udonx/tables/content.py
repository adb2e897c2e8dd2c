"""What a table holds: cells, rows, where they come from. Nothing here says how it is shown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

import attrs

from registry.metrics import DEFAULTS
from udonx.common.words import printable
from udonx.tables.groups import first_rows, group_of, on_other_seeds

INDEXES = {"merged": "merged index", "own": "own-domain index *"}
OTHER_SEEDS = "†"
"""Marks a row whose means are over other seeds than those of the other rows."""
UNSEEN = "°"
"""Marks a figure of a domain that the row has not learned from."""
REPORTED = "‡"
"""Marks a line of figures from elsewhere."""


def _all_printable(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(printable, texts))


@attrs.frozen(kw_only=True)
class Cell:
    """A figure over seeds, as fractions: mean and sample standard deviation (None for one seed).

    >>> Cell.of([0.5, 0.6]).format(), Cell.of([0.5]).format()
    ('55.0 ± 7.1', '50.0')
    """

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: list[float]) -> Cell:
        """The cell of one value per seed."""
        return cls(
            mean=statistics.fmean(values), std=statistics.stdev(values) if len(values) > 1 else None
        )

    def format(self, gap: str = " ") -> str:
        """Percent with one decimal."""
        text = f"{100 * self.mean:.1f}"
        return text if self.std is None else f"{text}{gap}±{gap}{100 * self.std:.1f}"


def _domain_cells(cells: Mapping[str, Mapping[str, Cell]]) -> dict[str, dict[str, Cell]]:
    return {
        metric: {printable(name): cell for name, cell in by_domain.items()}
        for metric, by_domain in cells.items()
    }


@attrs.frozen(kw_only=True)
class MetricColumn:
    """A metric that a table shows.

    Attributes:
        name: of the registry, such as `r1`.
        label: the header, such as `R@1`.
    """

    name: str
    label: str = attrs.field(converter=printable)


R1 = MetricColumn(name="r1", label="R@1")
MMP5 = MetricColumn(name="mmp5", label="mMP@5")


@attrs.frozen(kw_only=True)
class Difference:
    """A row's metric minus that of the row that it is compared with. Figures are fractions.

    Attributes:
        point: over the seeds that both have.
        low, high: ends of the 95 % interval (bootstrap.py); None without per-query results.
    """

    point: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high); None where there is none."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def unclear(self) -> bool:
        """Whether the interval contains zero."""
        return self.interval is not None and self.interval[0] <= 0 <= self.interval[1]


@attrs.frozen(kw_only=True)
class TableRow:
    """One line of a table. Figures are fractions.

    Attributes:
        name: the name of the row, as in the experiment file.
        label: what the table calls it.
        branch: the branch that is evaluated.
        backbone: the role of its backbone.
        reference: whether it is shown only, and not compared.
        index: "merged", or "own" where each domain is searched alone.
        seeds: the seeds that the means are over.
        metrics: a cell for each metric that all evaluations hold, by its name; R@1 (`r1`) always.
        per_seed: by the metric's name its value of each seed, in the order of `seeds`.
        differences: by the metric's name (R@1 and those shown) the difference to the first row with
            the same index and backbone, at the same seeds and queries.
        per_domain: the same as `metrics`, by metric and domain.
        own_metrics: the same as `metrics` with the own-domain index.
        best_steps: for each seed the step that validation chose. None where several stages embed,
            where nothing is trained, or where another branch was validated.
        validation: the R@1 of that choice.
        steps: of all stages that the row needs at one seed; None where a folder of one is gone.
        images: that these stages saw in training; None likewise.
        minutes: that these stages took, the mean over seeds; None likewise.
        evaluations: the ids of the evaluations behind the figures.
        stages: the ids of the stages behind the figures.
        unseen: the domains that these stages have not learned from.
    """

    name: str = attrs.field(converter=printable)
    label: str = attrs.field(converter=printable)
    branch: str
    index: str = attrs.field(validator=attrs.validators.in_(tuple(INDEXES)))
    backbone: str = attrs.field(converter=printable)
    reference: bool
    seeds: tuple[int | None, ...]
    metrics: dict[str, Cell]
    per_seed: dict[str, tuple[float, ...]]
    differences: dict[str, Difference]
    per_domain: dict[str, dict[str, Cell]] = attrs.field(converter=_domain_cells)
    own_metrics: dict[str, Cell]
    best_steps: tuple[int | None, ...] = ()
    validation: Cell | None = None
    steps: int | None
    images: int | None
    minutes: float | None
    evaluations: tuple[str, ...]
    stages: tuple[str, ...]
    unseen: tuple[str, ...] = attrs.field(default=(), converter=_all_printable)

    @property
    def r1(self) -> Cell:
        """R@1."""
        return self.metrics["r1"]

    @property
    def mmp5(self) -> Cell:
        """mMP@5."""
        return self.metrics["mmp5"]

    def in_domain(self, metric: str, domain: str) -> Cell | None:
        """A metric of one domain; None where there is none."""
        return self.per_domain.get(metric, {}).get(domain)

    def mean_over(self, metric: str, *, unseen: bool) -> float | None:
        """A metric's mean over the domains that are unseen, or over all others; None without any.

        Args:
            metric: its name.
            unseen: whether it is of the unseen ones.
        """
        means = [
            cell.mean
            for domain, cell in self.per_domain.get(metric, {}).items()
            if (domain in self.unseen) == unseen
        ]
        return statistics.fmean(means) if means else None

    def mark_of(self, domain: str) -> str:
        """What ends the figure of a domain."""
        return UNSEEN if domain in self.unseen else ""

    @property
    def r1_per_seed(self) -> tuple[float, ...]:
        """R@1 of each seed."""
        return self.per_seed["r1"]

    @property
    def difference(self) -> float | None:
        """The difference in R@1; None where the row is not compared."""
        return self.differences["r1"].point if "r1" in self.differences else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the difference in R@1; None where there is none."""
        return self.interval_of("r1")

    def interval_of(self, metric: str) -> tuple[float, float] | None:
        """The 95 % interval of the difference in a metric; None where there is none."""
        return self.differences[metric].interval if metric in self.differences else None

    def unclear_in(self, metric: str) -> bool:
        """Whether the interval of the difference in a metric contains zero."""
        return metric in self.differences and self.differences[metric].unclear

    @property
    def unclear(self) -> bool:
        """Whether the interval of the difference in R@1 contains zero."""
        return self.unclear_in("r1")

    @property
    def best(self) -> str:
        """The chosen step, or the range of it over seeds; "-" where there is none."""
        steps = [step for step in self.best_steps if step is not None]
        return (
            "-".join(str(step) for step in dict.fromkeys((min(steps), max(steps))))
            if steps
            else "-"
        )


@attrs.frozen(kw_only=True)
class ReportedRow:
    """Figures of a row from elsewhere, such as a paper. They are fractions.

    Attributes:
        name: the name of the row, as in the experiment file.
        label: what the table calls it.
        reference: whether the row is shown only.
        source: where the figures stand; empty where the file does not say it.
        metrics: by the metric's name its mean over domains.
        per_domain: by metric and domain.
    """

    name: str = attrs.field(converter=printable)
    label: str = attrs.field(converter=printable)
    reference: bool
    source: str = attrs.field(default="", converter=printable)
    metrics: dict[str, float]
    per_domain: dict[str, dict[str, float]]

    def as_row(self) -> TableRow:
        """The figures as those of a row of which nothing else is known, to be shown like one."""
        return TableRow(
            name=self.name,
            label=self.label,
            branch="student",
            index="merged",
            backbone="",
            reference=self.reference,
            seeds=(),
            metrics={name: Cell.of([value]) for name, value in self.metrics.items()},
            per_seed={},
            differences={},
            per_domain={
                name: {domain: Cell.of([value]) for domain, value in values.items()}
                for name, values in self.per_domain.items()
            },
            own_metrics={},
            steps=None,
            images=None,
            minutes=None,
            evaluations=(),
            stages=(),
        )


@attrs.frozen(kw_only=True)
class Line:
    """A line of a table as it is shown.

    Attributes:
        label: the row's label with its mark.
        row: the figures.
        reported: whether they are from elsewhere.
        ranked: whether they may be the best of a column: neither reported, nor for orientation,
            nor over other seeds than those of the other rows.
    """

    label: str
    row: TableRow
    reported: bool = False
    ranked: bool = False


@attrs.frozen(kw_only=True)
class About:
    """Where a table's figures come from.

    `data` is a folder, or says that the images are generated; `overrides` are the `--set` texts;
    `start_weights` and `versions` say name and what it is.
    """

    file: str = attrs.field(default="", converter=printable)
    data: str = attrs.field(default="", converter=printable)
    overrides: tuple[str, ...] = attrs.field(default=(), converter=_all_printable)
    plugins: tuple[str, ...] = attrs.field(default=(), converter=_all_printable)
    start_weights: tuple[str, ...] = attrs.field(default=(), converter=_all_printable)
    versions: tuple[str, ...] = attrs.field(default=(), converter=_all_printable)

    def lines(self) -> list[str]:
        """One line for each thing that there is to say."""
        parts = {
            "experiment file": self.file,
            "data": self.data,
            "changed with --set": "; ".join(self.overrides),
            "plug-ins": ", ".join(self.plugins),
            "evaluated with": ", ".join(self.versions),
        }
        return [f"{what}: {text}" for what, text in parts.items() if text]


@attrs.frozen(kw_only=True)
class Content:
    """What a table holds.

    Attributes:
        title: the experiment's title.
        setting: the name of its setting.
        domains: its domains.
        metrics: which are shown, in this order.
        rows: those that have been evaluated.
        missing: which are not there, with the reason.
        footer: what has to be said of the figures.
        about: where they come from.
        reported: figures from elsewhere, which stand beside the rows and are compared with nothing.
    """

    title: str = attrs.field(converter=printable)
    setting: str = attrs.field(converter=printable)
    domains: tuple[str, ...] = attrs.field(converter=_all_printable)
    metrics: tuple[MetricColumn, ...] = (R1, MMP5)
    rows: tuple[TableRow, ...]
    missing: tuple[str, ...] = attrs.field(converter=_all_printable)
    footer: tuple[str, ...] = attrs.field(converter=_all_printable)
    about: About = attrs.field(factory=About)
    reported: tuple[ReportedRow, ...] = ()

    def row(self, name: str) -> TableRow:
        """The first line of a row, by the row's name.

        Raises:
            KeyError: there is no such row.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(
            f"{name!r} is no row of this table; there are"
            f" {', '.join(row.name for row in self.rows) or 'none'}"
        )

    @property
    def labels(self) -> list[str]:
        """The rows' labels.

        They are marked where the means are over other seeds than those of the other rows.
        """
        marked = zip(self.rows, on_other_seeds(self.rows), strict=True)
        return [f"{OTHER_SEEDS} {row.label}" if mark else row.label for row, mark in marked]

    @property
    def lines(self) -> list[Line]:
        """Every line in the order in which it is shown.

        Reported figures follow those of their row, or end the rows above or below the rule where
        that row is not there.
        """
        own = [
            Line(label=label, row=row, ranked=not row.reference and not elsewhere)
            for label, row, elsewhere in zip(
                self.labels, self.rows, on_other_seeds(self.rows), strict=True
            )
        ]
        lines = []
        for reference in (False, True):
            block = [line for line in own if line.row.reference == reference]
            for reported in self.reported:
                if reported.reference == reference:
                    label = f"{REPORTED} {reported.label} (reported)"
                    line = Line(label=label, row=reported.as_row(), reported=True)
                    block.insert(_after(block, reported.name), line)
            lines += block
        return lines

    @property
    def validated(self) -> bool:
        """Whether validation chose the step of any row."""
        return any(row.validation is not None for row in self.rows)

    @property
    def mixed(self) -> bool:
        """Whether rows of both indexes are there."""
        return len({row.index for row in self.rows}) > 1

    @property
    def difference_columns(self) -> tuple[MetricColumn, ...]:
        """The metrics whose differences are shown in text and Markdown.

        R@1 comes first; it is alone where nothing is shown beside the two default metrics.
        """
        others = [column for column in self.metrics if column.name != R1.name]
        if all(column.name in DEFAULTS for column in others):
            return (R1,)
        return (
            R1,
            *(one for one in others if any(one.name in row.differences for row in self.rows)),
        )

    def compared(self, column: MetricColumn) -> list[TableRow]:
        """The rows whose difference in a metric has an interval."""
        return [row for row in self.rows if row.interval_of(column.name) is not None]

    @property
    def grouped(self) -> bool:
        """Whether any difference is to another row than the table's first.

        Such a row is the first of its index or backbone.
        """
        firsts = first_rows(self.rows)
        return any(
            firsts[group_of(row)] is not self.rows[0]
            for column in self.difference_columns
            for row in self.compared(column)
        )


def _after(lines: list[Line], name: str) -> int:
    """The position after the last line of a row; the end where it has none."""
    there = [position for position, line in enumerate(lines, 1) if line.row.name == name]
    return there[-1] if there else len(lines)

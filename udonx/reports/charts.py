"""The figures of a table's page: differences, domains, costs, learning curves, sampler."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from udonx.reports.curves import MEAN, TOTAL, Curve, RowCurves
from udonx.reports.drawing import GRID, MUTED, Chart, Panel, color, marker
from udonx.reports.pairs import Pairs
from udonx.reports.sizes import ModelSize
from udonx.reports.verdict import format_difference
from udonx.tables.content import Cell, Difference, TableRow
from udonx.tables.groups import first_rows
from udonx.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOMAINS_PER_PANEL = 4
_SPAN_FOR_LOG = 30  # an axis whose figures span more than this factor is logarithmic
_LEAST_FOR_LOG = 0.1  # a row that trains for no time would stretch the axis without end
_LEAST_FOR_PREFIX = 10_000  # from here on an axis says 20k
_PERCENT = "R@1 on validation (%)"


def comparison_charts(table: Table, pairs: Pairs) -> list[Chart]:
    """Differences to the first row, and each domain's figures."""
    return [*_differences(table, pairs), *_domains(table)]


def _differences(table: Table, pairs: Pairs) -> Iterator[Chart]:
    """Each row minus the first that is compared, with intervals: a panel for each metric."""
    first = next(iter(first_rows(table.rows).values()), None)
    if first is None:
        return
    reference = next(i for i, row in enumerate(table.rows) if row is first)
    panels = []
    for metric in table.metrics:
        found = {
            position: difference
            for position in range(len(table.rows))
            if (difference := pairs.of(position, reference).get(metric.name)) is not None
            and difference.interval is not None
        }
        if found:
            panels.append(_forest_panel(table, metric.label, found))
    if panels:
        yield Chart(
            key="differences",
            title=f"Differences to {first.label}",
            caption=(
                f"Each row minus {first.label}, with 95 % intervals (paired bootstrap). An interval"
                " that crosses the line at zero may be noise."
            ),
            panels=panels,
        )


def _forest_panel(table: Table, label: str, found: Mapping[int, Difference]) -> Panel:
    """Differences of rows, by their positions, with their intervals."""
    labels = [textwrap.shorten(table.rows[i].label, 60, placeholder="…") for i in found]

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=MUTED, linewidth=1)
        for height, (position, each) in enumerate(found.items()):
            ends = [100 * end for end in each.interval or ()]
            axes.plot(ends, [height] * len(ends), color=color(position))
            _point(axes, 100 * each.point, height, position)
        axes.set_yticks(range(len(labels)), ["\n".join(textwrap.wrap(x, 22)) for x in labels])
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("percentage points")

    alt = "; ".join(
        f"{name} {format_difference(each)}"
        for name, each in zip(labels, found.values(), strict=True)
    )
    return Panel(title=label, alt=alt, draw=draw, height=0.8 + 0.36 * len(found))


def _domains(table: Table) -> Iterator[Chart]:
    """A dot plot: domains below each other, the rows of each side by side."""
    metric = table.metrics[0]
    rows = [(i, row) for i, row in enumerate(table.rows) if row.per_domain.get(metric.name)]
    if not rows or not table.domains:
        return
    size = _DOMAINS_PER_PANEL
    groups = [table.domains[start : start + size] for start in range(0, len(table.domains), size)]
    yield Chart(
        key="domains",
        title=f"{metric.label} by domain",
        caption=(
            f"{metric.label} of each domain's queries; bars are ± one standard deviation over"
            " training seeds."
        ),
        panels=[
            Panel(
                title=f"{group[0]} to {group[-1]}" if len(group) > 1 else group[0],
                alt="; ".join(_domain_text(domain, rows, metric.name) for domain in group),
                draw=partial(_draw_domains, group=group, rows=rows, metric=metric.name),
                height=0.7 + len(group) * (0.16 + 0.11 * len(rows)),
            )
            for group in groups
        ],
        legend={i: row.label for i, row in rows},
    )


def _domain_text(domain: str, rows: Sequence[tuple[int, TableRow]], metric: str) -> str:
    cells = [(row, cell) for _, row in rows if (cell := row.in_domain(metric, domain))]
    return f"{domain}: {', '.join(f'{row.label} {cell.format()}' for row, cell in cells)}"


def _draw_domains(
    axes: Axes, group: Sequence[str], rows: Sequence[tuple[int, TableRow]], metric: str
) -> None:
    gap = 0.8 / len(rows)
    for line, domain in enumerate(group):
        axes.axhspan(line - 0.45, line + 0.45, color=GRID, alpha=0.35 * (line % 2), linewidth=0)
        for order, (position, row) in enumerate(rows):
            cell = row.in_domain(metric, domain)
            if cell is not None:
                height = line + (order - (len(rows) - 1) / 2) * gap
                _point(axes, 100 * cell.mean, height, position, x_error=100 * (cell.std or 0))
    axes.set_yticks(range(len(group)), group)
    axes.set_ylim(len(group) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("%")


def _point(
    axes: Axes, x: float, y: float, number: int, *, x_error: float = 0, y_error: float = 0
) -> None:
    """A mark of a series, with a bar where it has a spread."""
    axes.errorbar(
        [x],
        [y],
        xerr=[x_error] if x_error else None,
        yerr=[y_error] if y_error else None,
        color=color(number),
        marker=marker(number),
        linestyle="none",
        elinewidth=1,
    )


# ------------------------------------------------------------------------------------------- costs


def cost_charts(table: Table, sizes: Sequence[ModelSize]) -> list[Chart]:
    """The first metric against what a row costs; what all rows share is said in the caption."""
    metric = table.metrics[0]
    costs: dict[str, list[float | None]] = {
        "minutes of training": [row.minutes for row in table.rows],
        "images seen in training": [row.images for row in table.rows],
        "parameters (millions)": [
            None if size.parameters is None else size.parameters / 1e6 for size in sizes
        ],
        "dimension of a vector": [size.dim for size in sizes],
    }
    panels, alike, unknown = [], [], []
    for label, values in costs.items():
        points = [
            (position, value, row.metrics[metric.name])
            for position, (row, value) in enumerate(zip(table.rows, values, strict=True))
            if value is not None and metric.name in row.metrics
        ]
        if not points:
            unknown.append(label)
        elif len({value for _, value, _ in points}) == 1:
            alike.append(f"{label}: {points[0][1]:,.4g} in all rows")
        else:
            panels.append(_cost_panel(table, label, points))
    caption = f"{metric.label} (%), ± one standard deviation over seeds, against costs of a row."
    caption += "".join(f" {text[0].upper()}{text[1:]}." for text in alike)
    caption += f" Not known: {', '.join(unknown)}." if unknown else ""
    legend = {i: row.label for i, row in enumerate(table.rows)}
    title = f"{metric.label} against cost"
    chart = Chart(key="cost", title=title, caption=caption, panels=panels, legend=legend)
    return [chart] if panels else []


def _cost_panel(table: Table, label: str, points: Sequence[tuple[int, float, Cell]]) -> Panel:
    def draw(axes: Axes) -> None:
        from matplotlib.ticker import EngFormatter, NullFormatter

        for position, value, cell in points:
            _point(axes, value, 100 * cell.mean, position, y_error=100 * (cell.std or 0))
        values = [value for _, value, _ in points]
        if min(values) >= _LEAST_FOR_LOG and max(values) / min(values) > _SPAN_FOR_LOG:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.locator_params(axis="x", nbins=5)
            if max(values) >= _LEAST_FOR_PREFIX:
                axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel(label)
        axes.set_ylabel(f"{table.metrics[0].label} (%)")

    alt = "; ".join(
        f"{table.rows[i].label}: {value:,.4g}, {cell.format()}" for i, value, cell in points
    )
    return Panel(title=label, alt=alt, draw=draw)


# ------------------------------------------------------------------------------------------ curves


def learning_charts(table: Table, curves: Sequence[RowCurves]) -> list[Chart]:
    """Each loss term, and validation R@1 of each domain, over steps: a line for each row."""
    labels = {row.position: table.rows[row.position].label for row in curves}
    spread = "Lines are means over seeds, bands ± one standard deviation."
    charts = []
    for key, title, caption, get, unit in (
        ("losses", "Loss terms", f"Each loss in training. {spread}", _losses_of, "loss"),
        (
            "validation",
            "Validation by domain",
            f"R@1 on the validation splits while training. {spread}",
            _validation_of,
            _PERCENT,
        ),
    ):
        found = dict.fromkeys(name for row in curves for name in get(row))
        names = sorted(found, key=lambda name: name == TOTAL)  # stable: the total comes last
        panels = [
            _line_panel(
                name,
                unit,
                {row.position: get(row)[name] for row in curves if name in get(row)},
                labels,
            )
            for name in names
        ]
        if panels:
            charts.append(
                Chart(key=key, title=title, caption=caption, panels=panels, legend=labels)
            )
    return charts


def _losses_of(row: RowCurves) -> Mapping[str, Curve]:
    return row.losses


def _validation_of(row: RowCurves) -> Mapping[str, Curve]:
    return row.validation


def sampler_charts(table: Table, curves: Sequence[RowCurves]) -> list[Chart]:
    """For each row whose sampler follows a loss: shares, beside the loss that they follow."""
    charts = []
    for row in curves:
        if not row.shares:
            continue
        domains = list(row.shares)
        legend = dict(enumerate(domains))
        panels = [_domain_panel("share of the steps", "share (%)", row.shares, domains, 100)]
        if row.signals:
            panels.append(_domain_panel("loss of each domain", "loss", row.signals, domains, 1))
            beside = "right the mean loss that the sampler has followed"
        else:
            by_domain = {name: each for name, each in row.validation.items() if name != MEAN}
            if by_domain:
                panels.append(_domain_panel("validation R@1", _PERCENT, by_domain, domains, 100))
            beside = (
                "right each domain's validation R@1, since this stage's log is of a time when the"
                " loss by domain was not kept"
            )
        label = table.rows[row.position].label
        charts.append(
            Chart(
                key=f"sampler-{row.position}",
                title=label,
                caption=f"Left what share of the steps each domain gets, {beside}.",
                panels=panels,
                legend=legend,
            )
        )
    return charts


def _domain_panel(
    title: str, unit: str, curves: Mapping[str, Curve], domains: Sequence[str], scale: float
) -> Panel:
    numbered = {domains.index(name): curve for name, curve in curves.items() if name in domains}
    return _line_panel(title, unit, numbered, dict(enumerate(domains)), scale)


def _line_panel(
    title: str,
    unit: str,
    curves: Mapping[int, Curve],
    labels: Mapping[int, str],
    scale: float | None = None,
) -> Panel:
    """Curves over steps, each with its band."""
    factor = scale if scale is not None else 100 if unit == _PERCENT else 1

    def draw(axes: Axes) -> None:
        for number, curve in curves.items():
            mean = [factor * value for value in curve.mean]
            every = max(1, len(mean) // 6)
            axes.plot(
                curve.steps, mean, color=color(number), marker=marker(number), markevery=every
            )
            if any(curve.deviation):
                spread = [factor * value for value in curve.deviation]
                low = [m - s for m, s in zip(mean, spread, strict=True)]
                high = [m + s for m, s in zip(mean, spread, strict=True)]
                axes.fill_between(
                    curve.steps, low, high, color=color(number), alpha=0.18, linewidth=0
                )
        axes.set_xlabel("step")
        axes.set_ylabel(unit)

    alt = "; ".join(
        f"{labels[number]} from {factor * curve.mean[0]:.3g} at step {curve.steps[0]} to"
        f" {factor * curve.mean[-1]:.3g} at step {curve.steps[-1]}"
        for number, curve in curves.items()
    )
    return Panel(title=title, alt=alt, draw=draw)

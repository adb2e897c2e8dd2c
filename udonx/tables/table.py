"""A table: what is shown of an experiment's rows and seeds. On screen, as Markdown, CSV and JSON,
and read back from that JSON.

Nothing here needs torch, the data, the weights or the experiment file: a stored table is shown from
itself.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from udonx.common.files import DamagedFileError, atomic_folder, read_json, write_atomic, write_json
from udonx.common.words import printable
from udonx.tables.bootstrap import LEVEL
from udonx.tables.groups import common_seeds, first_rows, group_of, on_other_seeds

_WIDTH = 100
_NARROWEST = 4  # letters of a domain's name
_SHORTEST_LABEL = 10
_INDEXES = {"merged": "merged index", "own": "own-domain index *"}
_FORMS = ("table.md", "table.csv", "table.json")
_EARLIER = "earlier"
OTHER_SEEDS = "†"
"""Marks a row whose means are over other seeds than those of the other rows."""


def _all_printable(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(printable, texts))


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
        return cls(
            mean=statistics.fmean(values), std=statistics.stdev(values) if len(values) > 1 else None
        )

    def spell(self, gap: str = " ") -> str:
        """Percent with one decimal."""
        text = f"{100 * self.mean:.1f}"
        return text if self.std is None else f"{text}{gap}±{gap}{100 * self.std:.1f}"


def _domain_cells(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    return {printable(name): cell for name, cell in cells.items()}


@attrs.frozen(kw_only=True)
class TableRow:
    """One line of a table. `index` is "merged", or "own" where each domain is searched alone;
    figures are fractions.

    `difference` is R@1 minus that of the first row with the same index and backbone, at the same
    seeds and queries; `interval` is its 95 % interval (bootstrap.py). `best_steps` holds for each
    seed the step that validation chose and `validation` the R@1 of that choice: None where several
    stages embed, where nothing is trained, or where another branch was validated. `steps`, `images`
    and `minutes` are of all stages that the row needs, None where one of their folders is gone.
    """

    name: str = attrs.field(converter=printable)
    label: str = attrs.field(converter=printable)
    branch: str
    index: str = attrs.field(validator=attrs.validators.in_(tuple(_INDEXES)))
    backbone: str = attrs.field(converter=printable)
    reference: bool
    seeds: tuple[int | None, ...]
    r1: Cell
    r1_per_seed: tuple[float, ...]
    mmp5: Cell
    difference: float | None
    interval: tuple[float, float] | None
    r1_per_domain: dict[str, Cell] = attrs.field(converter=_domain_cells)
    mmp5_per_domain: dict[str, Cell] = attrs.field(converter=_domain_cells)
    own_r1: Cell
    own_mmp5: Cell
    best_steps: tuple[int | None, ...] = ()
    validation: Cell | None = None
    steps: int | None
    images: int | None
    minutes: float | None
    evaluations: tuple[str, ...]
    stages: tuple[str, ...]

    @property
    def unclear(self) -> bool:
        """Whether the interval of the difference contains zero."""
        return self.interval is not None and self.interval[0] <= 0 <= self.interval[1]

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
class About:
    """Where a table's figures come from. `data` is a folder, or says that the images are generated;
    `overrides` are the `--set` texts; `start_weights` and `versions` say name and what it is.
    """

    file: str = attrs.field(default="", converter=printable)
    data: str = attrs.field(default="", converter=printable)
    overrides: tuple[str, ...] = attrs.field(default=(), converter=_all_printable)
    plugins: tuple[str, ...] = attrs.field(default=(), converter=_all_printable)
    start_weights: tuple[str, ...] = attrs.field(default=(), converter=_all_printable)
    versions: tuple[str, ...] = attrs.field(default=(), converter=_all_printable)

    def lines(self) -> list[str]:
        """One line for each thing that there is to say."""
        said = {
            "experiment file": self.file,
            "data": self.data,
            "changed with --set": "; ".join(self.overrides),
            "plug-ins": ", ".join(self.plugins),
            "evaluated with": ", ".join(self.versions),
        }
        return [f"{what}: {text}" for what, text in said.items() if text]


@attrs.frozen(kw_only=True, repr=False)
class Table:
    """A table with its title, its footer, where it comes from, and the rows that are not there,
    with the reason.

    `str()` is what the command line prints. No text in it steers a terminal or breaks a line.
    """

    title: str = attrs.field(converter=printable)
    setting: str = attrs.field(converter=printable)
    domains: tuple[str, ...] = attrs.field(converter=_all_printable)
    rows: tuple[TableRow, ...]
    missing: tuple[str, ...] = attrs.field(converter=_all_printable)
    footer: tuple[str, ...] = attrs.field(converter=_all_printable)
    about: About = attrs.field(factory=About)

    def __repr__(self) -> str:
        rows = f"{len(self.rows)} row{'s' * (len(self.rows) != 1)}"
        return (
            f"<Table {self.title!r} ({self.setting}): {rows}, {len(self.domains)} domains; print()"
            " shows it>"
        )

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self) -> str:
        """For the screen, at most 100 columns: one decimal, names cut to fit, no ± per domain;
        domains that find no room are left out.
        """
        stars = _marks([row.index == "own" for row in self.rows], "*" if self._mixed else "")
        tildes = _marks([row.unclear for row in self.rows], "~")
        left = [["", "R@1" + stars[0], "mMP@5", "diff" + tildes[0]]]
        for row, star, tilde in zip(self.rows, stars[1:], tildes[1:], strict=True):
            left.append(
                [
                    self._label(row),
                    row.r1.spell("") + star,
                    row.mmp5.spell(""),
                    _points(row.difference) + tilde,
                ]
            )
        middle = [
            [_mean(row.r1_per_domain.get(name)) for name in self.domains] for row in self.rows
        ]
        right = [
            ["steps", "min"],
            *([_count(row.steps), _minutes(row.minutes)] for row in self.rows),
        ]
        (label, *figures), ends = _widths(left), _widths(right)
        # for the label, and for each domain a blank and its column
        room = _WIDTH - sum(figures) - sum(ends) - len(figures) - len(ends)
        narrow = (
            [max(_NARROWEST, width) for width in _widths(middle)]
            if middle
            else [_NARROWEST] * len(self.domains)
        )
        chosen = [["val", "best"], *([_mean(row.validation), row.best] for row in self.rows)]
        if (
            has_columns := self._validated
            and label + sum(narrow) + len(narrow) + sum(_widths(chosen)) + 2 <= room
        ):
            right = [[*first, *last] for first, last in zip(chosen, right, strict=True)]
            ends = _widths(right)
            room -= sum(_widths(chosen)) + 2
        while narrow and min(label, _SHORTEST_LABEL) + sum(narrow) + len(narrow) > room:
            narrow.pop()
        label = min(label, room - sum(narrow) - len(narrow))
        spare = (room - label - sum(narrow) - len(narrow)) // max(1, len(narrow))
        wide = [
            max(width, min(len(name), width + spare))
            for name, width in zip(self.domains, narrow, strict=False)
        ]
        widths = [label, *figures, *wide, *ends]
        rule = "-" * (sum(widths) + len(widths) - 1)
        ranked = len(self.rows) - sum(row.reference for row in self.rows)
        lines = [f"{self.title}  ({self.setting})"]
        for position, (first, domains, last) in enumerate(
            zip(left, [list(self.domains), *middle], right, strict=True)
        ):
            if position in (1, ranked + 1):
                lines.append(rule)
            name, *cells = [*first, *domains[: len(wide)], *last]
            texts = [
                text[:width].rjust(width) for text, width in zip(cells, widths[1:], strict=True)
            ]
            lines.append(" ".join([name[:label].ljust(label), *texts]).rstrip())
        left_out = self.domains[len(wide) :]
        notes = [
            *self.missing,
            *self.footer,
            *([f"without room here: {', '.join(left_out)}"] if left_out else []),
        ]
        if self._validated:
            notes.append(_ABOUT_COLUMNS if has_columns else self._choices())
        return "\n".join(
            [
                *lines,
                *self._intervals(),
                *(textwrap.fill(note, _WIDTH, subsequent_indent="  ") for note in notes),
            ]
        )

    def _label(self, row: TableRow) -> str:
        """A row's label, marked where its means are over other seeds than those of
        the other rows.
        """
        marked = dict(zip(map(id, self.rows), on_other_seeds(self.rows), strict=True))
        return f"{OTHER_SEEDS} {row.label}" if marked[id(row)] else row.label

    @property
    def _validated(self) -> bool:
        """Whether validation chose the step of any row."""
        return any(row.validation is not None for row in self.rows)

    def _choices(self) -> str:
        """The chosen steps with their validation R@1 in one sentence, for a screen without room for
        two columns.
        """
        chosen = [
            f"{row.label} {row.best} ({_mean(row.validation)})"
            for row in self.rows
            if row.validation is not None
        ]
        return f"step chosen on validation (its R@1 there): {'; '.join(chosen)}"

    @property
    def _mixed(self) -> bool:
        """Whether rows of both indexes are there."""
        return len({row.index for row in self.rows}) > 1

    @property
    def _grouped(self) -> bool:
        """Whether any difference is to another row than the table's first: to the first of its
        index or backbone.
        """
        firsts = first_rows(self.rows)
        return any(
            firsts[group_of(row)] is not self.rows[0]
            for row in self.rows
            if row.interval is not None
        )

    def _method(self, subject: str) -> str:
        """What the intervals are, in one line; empty where there is none."""
        compared = [row for row in self.rows if row.interval is not None]
        if not compared:
            return ""
        firsts = first_rows(self.rows)
        over = (
            "seeds and queries"
            if any(common_seeds(row, firsts[group_of(row)]) > 1 for row in compared)
            else "queries"
        )
        zero = "; ~ contains zero" if any(row.unclear for row in compared) else ""
        return f"{subject}, {100 * LEVEL:.0f} % interval (paired bootstrap over {over}){zero}"

    def _intervals(self) -> list[str]:
        """The differences with their intervals, for the screen; row by row, or group by group where
        there are several.
        """
        compared = [row for row in self.rows if row.interval is not None]
        if not compared:
            return []
        points, lows, highs = (
            _right(column) for column in zip(*map(_figures, compared), strict=True)
        )
        figures = [
            f"  {point}  [{low}, {high}]"
            for point, low, high in zip(points, lows, highs, strict=True)
        ]
        indent = "    " if self._grouped else "  "
        width = min(
            max(len(row.label) for row in compared),
            _WIDTH - len(indent) - len(figures[0]) - len(" ~"),
        )
        lines = [
            self._method("differences in R@1" if self._grouped else "R@1 minus the first row's")
        ]
        for group, first in first_rows(self.rows).items():
            block = [
                (row, figure)
                for row, figure in zip(compared, figures, strict=True)
                if group_of(row) == group
            ]
            if block and self._grouped:
                index = f", {_INDEXES[first.index]}" if self._mixed else ""
                lines.append(f"  minus {first.label[: _WIDTH - len(f'  minus {index}')]}{index}")
            lines += [
                f"{indent}{row.label[:width]:{width}}{figure}{' ~' * row.unclear}"
                for row, figure in block
            ]
        return lines

    def to_markdown(self) -> str:
        """Everything, ± per domain included."""
        header = ["row", "index", "seeds", "R@1", "mMP@5", "diff R@1"]
        header += [f"{name} {figure}" for figure in ("R@1", "mMP@5") for name in self.domains]
        header += ["validation R@1", "best step", "steps", "images", "minutes"]
        lines = [
            f"# {self.title} ({self.setting})",
            "",
            _markdown_line(header),
            f"|{'---|' * len(header)}",
        ]
        for row in self.rows:
            cells = [
                self._label(row),
                row.index,
                _seeds(row) or "-",
                row.r1.spell(),
                row.mmp5.spell(),
                _with_interval(row),
            ]
            for figures in (row.r1_per_domain, row.mmp5_per_domain):
                cells += [
                    figures[name].spell() if name in figures else "-" for name in self.domains
                ]
            cells += [row.validation.spell() if row.validation else "-", row.best]
            lines.append(
                _markdown_line(
                    [*cells, _count(row.steps), _count(row.images), _minutes(row.minutes)]
                )
            )
        same = " with the same index and backbone" if self._grouped else ""
        method = self._method(f"diff R@1: R@1 minus that of the first row{same}")
        notes = [*([method] if method else []), *self.missing, *self.footer]
        notes += [line for line in self.about.lines() if line not in notes]
        # a line that begins with a star would be a list within the list
        starred = [note.replace("*", r"\*") for note in notes]
        return "\n".join([*lines, "", *(f"- {note}" for note in starred), ""])

    def to_csv(self) -> str:
        """One line per row, figures as unrounded fractions; where they come from stands in every
        line.
        """
        header = [
            "row",
            "label",
            "branch",
            "index",
            "backbone",
            "reference",
            "seeds",
            "r1",
            "r1_std",
            "mmp5",
            "mmp5_std",
        ]
        header += ["difference", "difference_low", "difference_high"]
        header += ["own_index_r1", "own_index_mmp5"]
        header += [
            f"{name}_{figure}"
            for name in self.domains
            for figure in ("r1", "r1_std", "mmp5", "mmp5_std")
        ]
        header += ["validation_r1", "best_steps", "steps", "images", "minutes"]
        header += ["setting", "data", "set", "start_weights", "versions", "file"]
        about = self.about
        origin = [
            self.setting,
            about.data,
            *map("; ".join, (about.overrides, about.start_weights, about.versions)),
            about.file,
        ]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(header)
        for row in self.rows:
            line: list[Any] = [
                row.name,
                row.label,
                row.branch,
                row.index,
                row.backbone,
                row.reference,
                _seeds(row),
            ]
            line += [row.r1.mean, row.r1.std, row.mmp5.mean, row.mmp5.std]
            line += [
                row.difference,
                *(row.interval or (None, None)),
                row.own_r1.mean,
                row.own_mmp5.mean,
            ]
            for name in self.domains:
                for figures in (row.r1_per_domain, row.mmp5_per_domain):
                    cell = figures.get(name)
                    line += [cell.mean, cell.std] if cell else [None, None]
            line += [
                row.validation.mean if row.validation else None,
                " ".join(map(_count, row.best_steps)),
            ]
            writer.writerow([*line, row.steps, row.images, row.minutes, *origin])
        return buffer.getvalue()

    def to_json(self) -> str:
        """Everything, with the ids of evaluations and stages behind each row."""
        return json.dumps(attrs.asdict(self), indent=1)

    def row(self, name: str) -> TableRow:
        """The first line of a row, by the row's name. Raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(
            f"{name!r} is no row of this table; there are"
            f" {', '.join(row.name for row in self.rows) or 'none'}"
        )


_ABOUT_COLUMNS = "val: R@1 of the validation splits, which chose the step `best`"


def _seeds(row: TableRow) -> str:
    return " ".join(str(seed) for seed in row.seeds if seed is not None)


def _count(count: int | None) -> str:
    return "-" if count is None else str(count)


def _minutes(minutes: float | None) -> str:
    return "-" if minutes is None else f"{minutes:.1f}"


def _markdown_line(cells: list[str]) -> str:
    """A line of a Markdown table; a bar within a cell would end it."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _widths(lines: list[list[str]]) -> list[int]:
    return [max(len(text) for text in column) for column in zip(*lines, strict=True)]


def _right(texts: list[str]) -> list[str]:
    """Texts of one width, to the right."""
    return [text.rjust(max(map(len, texts))) for text in texts]


def _marks(marked: list[bool], mark: str) -> list[str]:
    """What stands behind a column's header and its figures: the mark, or a blank in its place;
    nothing where nothing is marked.
    """
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


# --------------------------------------------------------------------------------------- on disk


def read_table(path: Path) -> Table:
    """A stored table, from its table.json or the folder that holds it.

    Raises:
        DamagedFileError: it is no such file; its sentence says what to do.
        OSError: it is not there, or cannot be read.
    """
    file = path / _FORMS[-1] if path.is_dir() else path
    return read_json(
        file,
        Table,
        "`udonx run` with the same arguments writes it again, and trains nothing for it",
    )


def find_tables(path: Path) -> list[Path]:
    """The stored tables that a path names: a JSON file, a table's folder, or every table below a
    folder but for those of earlier states.

    A folder of experiment files names none.
    """
    if path.is_file():
        return [path] if path.suffix == ".json" else []
    if not path.is_dir() or any(path.glob("*.toml")):
        return []
    if (path / _FORMS[-1]).is_file():
        return [path / _FORMS[-1]]
    below = path / "tables" if (path / "tables").is_dir() else path
    return sorted(
        file for file in below.rglob(_FORMS[-1]) if _EARLIER not in file.relative_to(below).parts
    )


def loses_figures(table: Table, folder: Path) -> bool:
    """Whether the table stored in `folder` has figures that `table` lacks, or others in their
    place.
    """
    try:
        before = _figures_of(read_table(folder))
    except (DamagedFileError, FileNotFoundError):
        return False
    return not before.items() <= _figures_of(table).items()


def write_table(table: Table, folder: Path) -> Path | None:
    """Write table.md, table.csv and table.json, each only where it says something new.

    What stands there already and is no part of the new table (of an edited file, say) is kept in
    `folder`/earlier/1, 2, ...

    Returns:
        The folder of what was kept, None where nothing had to be.
    """
    kept = _keep(folder) if loses_figures(table, folder) else None
    for name, text in (("table.md", table.to_markdown()), ("table.csv", table.to_csv())):
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode():
            write_atomic(folder / name, text)
    try:
        same = read_table(folder) == table
    except (DamagedFileError, FileNotFoundError):
        same = False
    if not same:
        write_json(folder / _FORMS[-1], attrs.asdict(table))
    return kept


def _figures_of(table: Table) -> dict[tuple[str, str, str, int | None], str]:
    """The evaluation behind every figure."""
    return {
        (row.name, row.branch, row.index, seed): evaluation
        for row in table.rows
        for seed, evaluation in zip(row.seeds, row.evaluations, strict=False)
    }


def _keep(folder: Path) -> Path:
    """Copy a table to the next free number below `earlier`; one that a killed process has kept
    already is not kept twice.
    """
    numbers = [int(path.name) for path in (folder / _EARLIER).glob("*") if path.name.isdigit()]
    last = folder / _EARLIER / str(max(numbers, default=0))
    content = {name: (folder / name).read_bytes() for name in _FORMS if (folder / name).is_file()}
    if all(
        (last / name).is_file() and (last / name).read_bytes() == data
        for name, data in content.items()
    ):
        return last
    with atomic_folder(folder / _EARLIER / str(int(last.name) + 1)) as kept:
        for name, data in content.items():
            (kept / name).write_bytes(data)
    return folder / _EARLIER / str(int(last.name) + 1)

"""What tuning gives: all trials as a table, and an experiment file with the best values."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from udonx.common.files import read_bytes, write_atomic
from udonx.common.grid import align, widths
from udonx.common.words import display_path, format_value, plural, printable
from udonx.config.experiment import Experiment
from udonx.config.problems import Problem
from udonx.config.selection import Selection
from udonx.config.show import toml_key, toml_value
from udonx.config.toml_files import SHIPPED, is_there
from udonx.running.trials import EndedTrial, tuning_of, tuning_seeds

_MADE = (
    "# Made by udonx tune, which writes it anew as long as it is not edited. sha256 of the rest:"
)


@attrs.frozen(kw_only=True)
class TunedRow:
    """A row and its trials.

    Attributes:
        name: the row's.
        paths: of its dimensions.
        trials: in their order.
        best: the best of them; None where all failed.
    """

    name: str
    paths: tuple[str, ...]
    trials: tuple[EndedTrial, ...]
    best: EndedTrial | None

    @property
    def values(self) -> Mapping[str, Any]:
        """What is changed in the row; nothing where it is best as its file has it."""
        return self.best.values if self.best is not None and self.best.number else {}

    def to_text(self) -> str:
        """A line for each trial, the best one marked."""
        header = ["", "trial", "R@1", "seconds", *self.paths]
        lines = [header, *map(self._cells, self.trials)]
        columns = widths(lines)
        texts = [align(line, columns) for line in lines]
        failures = [
            printable(f"trial {trial.number} failed: {trial.failure}")
            for trial in self.trials
            if trial.failure is not None
        ]
        return "\n".join([f"{printable(self.name)}: {self._outcome()}", *texts, *failures])

    def _cells(self, trial: EndedTrial) -> list[str]:
        mark = "*" if self.best is not None and trial.number == self.best.number else ""
        score = "failed" if trial.score is None else f"{100 * trial.score:.2f}"
        seconds = "-" if trial.score is None else str(round(trial.seconds))
        values = (trial.values.get(path) for path in self.paths)
        cells = ["-" if value is None else format_value(value) for value in values]
        return [mark, str(trial.number), score, seconds, *cells]

    def _outcome(self) -> str:
        if self.best is None or self.best.score is None:
            return f"all {plural(len(self.trials), 'trial')} failed; the row stays as it is"
        score = f"{100 * self.best.score:.2f}"
        if self.best.number == 0:
            return f"best as it is, R@1 {score}"
        before = self.trials[0].score
        than = "it failed" if before is None else f"{100 * before:.2f}"
        return f"trial {self.best.number} is best, R@1 {score}; as it is {than}"


@attrs.frozen(kw_only=True)
class Tuned:
    """An experiment after tuning; `str()` is the table of all trials.

    Attributes:
        path: the file that was written; `udonx run` takes it.
        rows: those that were tuned.
        experiment: what was tuned.
        selection: with which options of the command.
    """

    path: Path
    rows: tuple[TunedRow, ...]
    experiment: Experiment = attrs.field(repr=False)
    selection: Selection = attrs.field(repr=False)

    def __str__(self) -> str:
        return self.to_text()

    def row(self, name: str) -> TunedRow:
        """The row of that name.

        Raises:
            KeyError: it was not tuned.
        """
        found = {row.name: row for row in self.rows}
        return found[name]

    def to_text(self) -> str:
        """All trials of all rows, and how they were chosen."""
        experiment, tuning = self.experiment, tuning_of(self.experiment)
        used = tuning_seeds(experiment)
        seeds = f"seed{'s' * (len(used) > 1)} {', '.join(map(str, used))}"
        about = (
            f"{experiment.path.name} on setting '{experiment.setting}', tuned: search"
            f" {tuning.search.use}, {seeds}."
        )
        score = "R@1 is that of the validation splits, in percent; no test image was looked at."
        first = "Trial 0 is the row as its file has it; * marks the best."
        tuned = {row.name for row in self.rows}
        rest = [row.name for row in experiment.rows if row.name not in tuned and not row.skipped]
        left = [f"not tuned, so as they are: {', '.join(map(printable, rest))}"] if rest else []
        rows = [row.to_text() for row in self.rows]
        return "\n\n".join([f"{about}\n{score}\n{first}", *rows, *left])

    def to_toml(self) -> str:
        """The file: over the tuned one, with the best values, all trials in comments."""
        again = shlex.join(["udonx", "run", self.path.name, *_options(self.selection)])
        comment = f"{self.to_text()}\n\nIts table: {again}"
        keys: dict[str, Any] = {
            "title": f"{self.experiment.title} (tuned)",
            "inherit": _seen_from(self.experiment.path, self.path.parent),
        }
        if self.selection.setting is not None:
            keys["setting"] = self.selection.setting
        lines = [
            *(f"# {line}".rstrip() for line in comment.split("\n")),
            *(f"{key} = {toml_value(value)}" for key, value in keys.items()),
        ]
        for row in self.rows:
            if row.values:
                lines += ["", f"[rows.{toml_key(row.name)}]"]
                lines += [_assignment(path, value) for path, value in row.values.items()]
        body = "\n".join(lines) + "\n"
        return f"{_MADE} {_digest(body)}\n{body}"

    def write(self) -> None:
        """Write the file, whole or not at all."""
        write_atomic(self.path, self.to_toml())


def _assignment(path: str, value: Any) -> str:
    return f"{'.'.join(map(toml_key, path.split('.')))} = {toml_value(value)}"


def _options(selection: Selection) -> list[str]:
    """The options of the command that a run of the tuned rows needs too."""
    options: list[str] = []
    for name, values in (
        ("--data", [selection.data] if selection.data else []),
        ("--weights", [selection.weights] if selection.weights else []),
        ("--plugin", selection.plugins),
        ("--set", selection.overrides),
    ):
        for value in values:
            options += [name, str(value)]
    return options


# --------------------------------------------------------------------------------- where it lies


def tuned_path(experiment: Experiment, output: Path | None) -> Path:
    """Where the tuned file of an experiment lies: beside it, of a shipped one in this folder."""
    if output is not None:
        return output
    folder = Path() if experiment.path.parent == SHIPPED else experiment.path.parent
    return folder / f"{experiment.name}.tuned.toml"


def path_problem(path: Path, *, force: bool) -> Problem | None:
    """Why a tuned file may not be written there."""
    where = display_path(path)
    if path.is_dir():
        return Problem(where=where, message="is a folder; give the file with --output")
    if force or not is_there(path) or _is_as_made(path):
        return None
    message = (
        "is not as `udonx tune` would leave it: you have edited it, or written it; move it away,"
        " give another --output, or --force to write over it"
    )
    return Problem(where=where, message=message)


def _is_as_made(path: Path) -> bool:
    first, _, rest = read_bytes(path).decode(errors="replace").partition("\n")
    return first == f"{_MADE} {_digest(rest)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _seen_from(file: Path, folder: Path) -> str:
    """A path of a file that leads there from a folder; of a shipped file its name."""
    if file.parent == SHIPPED:
        return file.name
    return os.path.relpath(file.resolve(), folder.resolve())

"""What is wrong with an experiment, all of it at once.

Each problem has its place, what was got and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from udonx.common.errors import REFUSED, UdonxError


@attrs.frozen(kw_only=True)
class Problem:
    """One problem of an experiment.

    Attributes:
        where: the file, or the option of the command.
        message: what is wrong, what was got and what is allowed.
        rows: the rows that it touches.
        key: the dotted key.
    """

    where: str
    message: str
    rows: tuple[str, ...] = ()
    key: str = ""

    def __str__(self) -> str:
        rows = (
            f", row{'s' if len(self.rows) > 1 else ''} {', '.join(self.rows)}" if self.rows else ""
        )
        return f"{self.where}{rows}{': ' + self.key if self.key else ''}: {self.message}"


class ConfigError(UdonxError, ValueError):
    """All problems of one or more experiment files; `str()` is the numbered list."""

    exit_code = REFUSED

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = merge_rows(problems)
        count = len(self.problems)
        lines = [f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1)]
        super().__init__(
            "\n".join([f"{count} problem{'s' if count > 1 else ''}; nothing was started", *lines])
        )


def merge_rows(problems: Iterable[Problem]) -> list[Problem]:
    """The same problem in several rows becomes one problem that names the rows."""
    merged: dict[tuple[str, str, str], Problem] = {}
    for problem in problems:
        key = (problem.where, problem.key, problem.message)
        if key in merged:
            rows = tuple(dict.fromkeys((*merged[key].rows, *problem.rows)))
            merged[key] = attrs.evolve(merged[key], rows=rows)
        else:
            merged[key] = problem
    return list(merged.values())

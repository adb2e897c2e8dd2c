"""What is wrong with an experiment, all of it at once, each problem with its place, what was got
and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from registry.catalog import nearest


@attrs.frozen(kw_only=True)
class Problem:
    """One problem: `where` is the file (or the option of the command), `rows` the rows that it
    touches, `key` the dotted key.
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


class ConfigError(ValueError):
    """All problems of one or more experiment files; `str()` is the numbered list."""

    for_people = True
    exit_status = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = merge_rows(problems)
        count = len(self.problems)
        lines = [f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1)]
        super().__init__(
            "\n".join([f"{count} problem{'s' if count > 1 else ''}; nothing was started", *lines])
        )


def dotted(*parts: str) -> str:
    """Parts of a key, empty ones left out, as one dotted key.

    >>> dotted("", "rows.udon", "losses")
    'rows.udon.losses'
    """
    return ".".join(part for part in parts if part)


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


def spell(value: Any) -> str:
    """A value as it stands in TOML, cut to one short line.

    >>> spell(True), spell("a"), spell([1, "b"])
    ('true', '"a"', '[1, "b"]')
    """
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        # a terminal would take a control character for a command
        text = (
            '"'
            + "".join(
                letter if letter.isprintable() else ascii(letter)[1:-1] for letter in value[:100]
            )
            + '"'
        )
    elif isinstance(value, dict):
        text = "{ " + ", ".join(f"{key} = {spell(item)}" for key, item in value.items()) + " }"
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(spell(item) for item in value)}]"
    else:
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def unknown(name: str, allowed: Iterable[str], what: str = "key") -> str:
    """The sentence for a name that is not allowed, with the nearest ones.

    >>> unknown("lr_head", ["lr_heads", "frozen"])
    "unknown key; did you mean 'lr_heads'? allowed: frozen, lr_heads"
    """
    allowed = sorted(allowed)
    close = nearest(name, allowed, 2)
    hint = f"did you mean {' or '.join(repr(item) for item in close)}? " if close else ""
    return f"unknown {what}; {hint}allowed: {', '.join(allowed) or 'none'}"

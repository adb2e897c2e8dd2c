"""A table: what is shown of an experiment's rows and seeds, in all forms that it takes.

Nothing here needs torch, the data, the weights or the experiment file: a stored table is shown from
itself.
"""

from __future__ import annotations

import json
from typing import Literal

import attrs

from udonx.tables import formats, latex, render
from udonx.tables.content import Content

Form = Literal["text", "markdown", "latex", "csv", "json"]
"""A form that a table takes."""


@attrs.frozen(kw_only=True, repr=False)
class Table(Content):
    """A table of results.

    It has a title, a footer, where it comes from, and the rows that are not there, with the reason.

    `str()` is what the command line prints. No text in it steers a terminal or breaks a line.
    """

    def __repr__(self) -> str:
        rows = f"{len(self.rows)} row{'s' * (len(self.rows) != 1)}"
        return (
            f"<Table {self.title!r} ({self.setting}): {rows}, {len(self.domains)} domains; print()"
            " shows it>"
        )

    def __str__(self) -> str:
        return self.to_text()

    def to(self, form: Form) -> str:
        """The table in one of its forms."""
        texts = {
            "text": self.to_text,
            "markdown": self.to_markdown,
            "latex": self.to_latex,
            "csv": self.to_csv,
            "json": self.to_json,
        }
        return texts[form]()

    def to_text(self) -> str:
        """For the screen, at most 100 columns."""
        return render.to_text(self)

    def to_markdown(self) -> str:
        """Everything, ± per domain included."""
        return formats.to_markdown(self)

    def to_latex(self) -> str:
        """For a paper: a `table*` that needs booktabs."""
        return latex.to_latex(self)

    def to_csv(self) -> str:
        """One line per row, figures as unrounded fractions."""
        return formats.to_csv(self)

    def to_json(self) -> str:
        """Everything, with the ids of evaluations and stages behind each row."""
        return json.dumps(attrs.asdict(self), indent=1)

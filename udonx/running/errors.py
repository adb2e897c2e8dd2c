"""What goes wrong in a run of several rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from udonx.engine.errors import TrainingError

if TYPE_CHECKING:
    from udonx.tables.table import Table


class RowsFailed(TrainingError):
    """Some rows could not be made; all others were.

    Attributes:
        tables: the tables of all files, with what is there; what failed stands under each.
        failures: why, in one sentence, by "FILE: LABEL, seed N".
    """

    def __init__(self, tables: list[Table], failures: Mapping[str, str]) -> None:
        self.tables, self.failures = tables, dict(failures)
        lines = [
            f"  {number}. {what}: {why}" for number, (what, why) in enumerate(failures.items(), 1)
        ]
        count = f"{len(failures)} row{'s' * (len(failures) != 1)} failed"
        super().__init__(
            "\n".join(
                [
                    f"{count}; the others are done, and the same command tries again what failed",
                    *lines,
                ]
            )
        )

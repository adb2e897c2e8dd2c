"""What goes wrong in a run of several rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from udonx.engine.errors import TrainingError

if TYPE_CHECKING:
    from udonx.running.tuned import Tuned
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


class RowsNotTuned(TrainingError):
    """All trials of some rows failed; the other rows were tuned, and the files are written.

    Attributes:
        tuned: what there is of all files.
    """

    def __init__(self, tuned: Sequence[Tuned]) -> None:
        self.tuned = tuple(tuned)
        names = [
            f"{each.experiment.name}.{row.name}"
            for each in tuned
            for row in each.rows
            if row.best is None
        ]
        stay = "rows stay" if len(names) > 1 else "row stays"
        super().__init__(
            f"all trials failed of {', '.join(names)}; the {stay} as in the file, and the table"
            " says why"
        )

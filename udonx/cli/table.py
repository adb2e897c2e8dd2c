"""`udonx table`."""

from __future__ import annotations

from udonx.cli.arguments import Files, TableForm
from udonx.config.selection import WHOLE, Selection
from udonx.running.options import DEFAULTS, ResultsFolder
from udonx.running.table import table as table_of_files


def table(
    files: Files,
    /,
    *,
    selection: Selection = WHOLE,
    form: TableForm = "text",
    results: ResultsFolder = DEFAULTS.results,
) -> None:
    """Print each table.

    Stored ones that FILE names are printed as they stand, those of experiment files are made anew
    from what is stored.
    """
    for each in table_of_files(files, selection, results=results):
        print(each.to(form))

"""The tables of experiments from what is stored, running nothing and fetching nothing.

Stored tables are shown without torch, data or experiment file; so torch is imported only where a
table is made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from udonx.common.options import evolve_each
from udonx.config.experiment import Experiment, load_experiments
from udonx.config.problems import ConfigError, Problem
from udonx.config.selection import WHOLE, Selection
from udonx.data.errors import DataError
from udonx.inputs.load import Files, listed, load, one_or_all
from udonx.inputs.weights import WeightsError
from udonx.running.options import DEFAULTS

if TYPE_CHECKING:
    from udonx.tables.table import Table

logger = logging.getLogger(__name__)


@overload
def table(
    files: str | Path,
    selection: Selection = ...,
    *,
    results: str | Path = ...,
    **changes: Any,
) -> Table: ...


@overload
def table(
    files: Sequence[str | Path],
    selection: Selection = ...,
    *,
    results: str | Path = ...,
    **changes: Any,
) -> list[Table]: ...


def table(
    files: Files,
    selection: Selection = WHOLE,
    *,
    results: str | Path = DEFAULTS.results,
    **changes: Any,
) -> Table | list[Table]:
    """The tables of experiments again from what is stored; runs nothing.

    Args:
        files: experiment files or folders of them, whose tables are made anew; or a stored table's
            folder, its table.json or a folder of tables, which are read as they stand.
        selection: what of the experiments is shown.
        results: the folder that runs have kept their results in.
        changes: fields of `selection`, by name.

    Returns:
        The table of one file, a list for several or for a folder. Where data, weights or plug-ins
        are not here any more it is the table as it was written, which is logged.

    Raises:
        ConfigError: every problem of every file, or there is no such results folder.
    """
    from udonx.tables.storage import find_tables, read_table

    (selection,) = evolve_each(changes, selection)
    stored = {file: find_tables(Path(file)) for file in listed(files)}
    tables = [read_table(path) for paths in stored.values() for path in paths]
    if others := [file for file, paths in stored.items() if not paths]:
        tables += _of_experiments(others, selection, Path(results))
    return one_or_all(files, tables)


def _of_experiments(files: list[str | Path], selection: Selection, results: Path) -> list[Table]:
    """Tables made anew; as they were written where that cannot be done."""
    if not results.is_dir():
        message = (
            "there is no such folder, so nothing has been run with it; give the one that `udonx"
            " run` was given"
        )
        raise ConfigError([Problem(where=f"--results {results}", message=message)])
    try:
        return [stored_table(experiment, results) for experiment in load(files, selection)]
    except (ConfigError, DataError, WeightsError) as error:
        tables = list(_as_written(files, selection, results))
        if not tables:
            raise
        logger.warning(
            f"shown as it was written, since it cannot be made from what is stored: {error}"
        )
        return tables


def stored_table(experiment: Experiment, results: Path) -> Table:
    """The table of one experiment from what is stored, running and fetching nothing.

    It has the rows of `--row` only, and the seeds of `--seeds` only, where these are given.
    """
    from udonx.planning.load import load_plan
    from udonx.store.results import Results
    from udonx.tables.kept import shown_table

    plan, store = load_plan(experiment, fetch=False), Results(results)
    store.log_damaged_runs()
    return shown_table(plan, store)


def _as_written(files: list[str | Path], selection: Selection, results: Path) -> Iterator[Table]:
    """The stored tables of experiments: of their question, else all of the file and setting."""
    from udonx.tables.question import question_of
    from udonx.tables.storage import find_tables, read_table

    try:
        experiments = load_experiments(files, selection)
    except ConfigError:  # something is wrong with the files themselves
        return
    for experiment in experiments:
        folder = results / "tables" / question_of(experiment, results).folder
        for path in find_tables(folder) or find_tables(folder.parent):
            stored = read_table(path)
            file = str(experiment.path.resolve())
            if (stored.setting, stored.about.file) == (experiment.setting, file):
                yield stored

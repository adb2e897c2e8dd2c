"""`udonx table`: the table again from what is stored, running nothing."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from udonx.cli.common import load_all, options
from udonx.config.problems import ConfigError, Problem
from udonx.data.errors import DataError
from udonx.inputs.weights import WeightsError

if TYPE_CHECKING:
    from udonx.tables.table import Table

logger = logging.getLogger(__name__)


def main(parsed: argparse.Namespace) -> int:
    """Print each table: stored ones that FILE names as they stand, those of experiment files made
    anew from what is stored.
    """
    from udonx.tables.storage import find_tables, read_table

    stored = {name: find_tables(Path(name)) for name in parsed.files}
    for file in (file for files in stored.values() for file in files):
        print(read_table(file))
    parsed.files = [name for name, files in stored.items() if not files]
    if parsed.files:
        for table in _of_files(parsed):
            print(table)
    return 0


def _of_files(parsed: argparse.Namespace) -> list[Table]:
    """The tables of experiment files; as they were written where data, weights or plug-ins are not
    here any more.
    """
    if not Path(parsed.results).is_dir():
        message = (
            "there is no such folder, so nothing has been run with it; give the one that `udonx"
            " run` was given"
        )
        raise ConfigError([Problem(where=f"--results {parsed.results}", message=message)])
    try:
        experiments = load_all(parsed)
        from udonx.running.queue import stored_table

        return [stored_table(experiment, options(parsed)) for experiment in experiments]
    except (ConfigError, DataError, WeightsError) as error:
        tables = list(_as_written(parsed))
        if not tables:
            raise
        logger.warning(
            f"shown as it was written, since it cannot be made from what is stored: {error}"
        )
        return tables


def _as_written(parsed: argparse.Namespace) -> Iterator[Table]:
    """The stored tables of the experiment files: of their question, else all of the file and
    setting.
    """
    from udonx.tables.question import question_of
    from udonx.tables.storage import find_tables, read_table

    try:
        experiments = load_all(parsed, check_sources=False)
    except ConfigError:  # something is wrong with the files themselves
        return
    for experiment in experiments:
        folder = Path(
            parsed.results, "tables", question_of(experiment, Path(parsed.results)).folder
        )
        found = [read_table(file) for file in find_tables(folder) or find_tables(folder.parent)]
        for table in found:
            if table.setting == experiment.setting and table.about.file == str(
                experiment.path.resolve()
            ):
                yield table

"""The stored tables of a results folder, each with the folder that it was made from."""

from __future__ import annotations

import time
from pathlib import Path

import attrs

from udonx.common.files import DamagedFileError
from udonx.records.runs import RunInfo, read_all
from udonx.store.results import Results
from udonx.tables.storage import find_tables, read_table
from udonx.tables.table import Table


@attrs.frozen(kw_only=True)
class TableSource:
    """A stored table, and where the stages and evaluations behind it lie.

    Attributes:
        name: its folder below `tables/`, such as `table3_ablation/demo`.
        table: what it holds.
        results: the results folder.
        written: when it was written last, such as `2026-11-22 14:05`.
        runs: of its rows and seeds, in the order in which they were last started.
    """

    name: str
    table: Table
    results: Results
    written: str
    runs: tuple[RunInfo, ...] = ()

    @property
    def file(self) -> str:
        """The name of its experiment file."""
        return self.name.partition("/")[0]

    @property
    def variant(self) -> str:
        """Its setting, with the data and a hash where these are not the setting's own."""
        return self.name.partition("/")[2]


def read_sources(results: Results) -> tuple[list[TableSource], list[str]]:
    """The stored tables of a results folder, and a sentence for each file that cannot be read."""
    sources, problems = [], []
    try:
        runs = read_all(results.root)
    except DamagedFileError as error:
        runs = []
        problems.append(str(error))
    for file in find_tables(results.root):
        try:
            table = read_table(file)
        except (DamagedFileError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        name = _name(file, results.root)
        sources.append(
            TableSource(
                name=name,
                table=table,
                results=results,
                written=time.strftime("%Y-%m-%d %H:%M", time.localtime(file.stat().st_mtime)),
                runs=tuple(run for run in runs if "/".join(run.question) == name),
            )
        )
    return sources, problems


def _name(file: Path, root: Path) -> str:
    below = root / "tables" if (root / "tables").is_dir() else root
    return file.parent.relative_to(below).as_posix()

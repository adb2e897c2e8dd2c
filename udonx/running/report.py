"""Static pages of stored tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from udonx.config.problems import ConfigError, Problem
from udonx.running.options import DEFAULTS

if TYPE_CHECKING:
    from udonx.reports.write import WrittenReport


def report(results: str | Path = DEFAULTS.results, out: str | Path | None = None) -> WrittenReport:
    """Write static pages of all stored tables of a results folder; runs nothing.

    Args:
        results: the folder that runs have kept their results in.
        out: the folder of the pages; by default `report` in the results folder.

    Returns:
        What was written; `str()` says which page to open.

    Raises:
        ConfigError: there is no such folder, or no table in it.

    Example:
        udonx.report("results", "pages").index
    """
    results = Path(results)
    if not results.is_dir():
        raise _refusal(results, "there is no such folder; give the one that `udonx run` was given")
    # torch takes seconds to import
    from udonx.reports.write import write_report
    from udonx.store.results import Results
    from udonx.tables.storage import find_tables

    if not find_tables(results):
        raise _refusal(results, "no table is stored in it yet; `udonx run FILE` writes one")
    return write_report(Results(results), Path(out) if out else results / "report")


def _refusal(results: Path, message: str) -> ConfigError:
    return ConfigError([Problem(where=str(results), message=message)])

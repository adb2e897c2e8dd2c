"""Static pages of stored tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from udonx.common.files import folder_problem
from udonx.config.problems import ConfigError, Problem
from udonx.running.options import DEFAULTS, RunOptions

if TYPE_CHECKING:
    from udonx.reports.images import ImageFinder
    from udonx.reports.write import WrittenReport


def report(
    results: str | Path = DEFAULTS.results,
    out: str | Path | None = None,
    *,
    data: str | Path | None = None,
    galleries: bool = False,
    device: str | None = None,
    workers: int | None = None,
) -> WrittenReport:
    """Write static pages of all stored tables of a results folder; trains nothing.

    Args:
        results: the folder that runs have kept their results in.
        out: the folder of the pages; by default `report` in the results folder.
        data: the folder where the images of all tables lie now; by default where they lay.
        galleries: search again with the stored stages where an evaluation of an earlier version
            kept no neighbours; its figures stay as they are.
        device: what `galleries` searches on; `cpu`, `cuda` or `cuda:N`.
        workers: threads that load images for `galleries`.

    Returns:
        What was written; `str()` says which page to open.

    Raises:
        ConfigError: there is no such folder, no table in it, or `out` cannot be written.

    Example:
        udonx.report("results", "pages").index
    """
    results = Path(results)
    pages = Path(out) if out else results / "report"
    if not results.is_dir():
        raise _refusal(results, "there is no such folder; give the one that `udonx run` was given")
    if message := folder_problem(pages):
        raise ConfigError([Problem(where="--out", message=message)])
    # torch takes seconds to import
    from udonx.reports.images import ImageFinder
    from udonx.reports.write import write_report
    from udonx.store.results import Results
    from udonx.tables.storage import find_tables

    if not find_tables(results):
        raise _refusal(results, "no table is stored in it yet; `udonx run FILE` writes one")
    images = ImageFinder(Path(data) if data else None)
    if galleries:
        _find_neighbours(images, RunOptions(results=results, device=device, workers=workers))
    return write_report(Results(results), pages, images)


def _find_neighbours(images: ImageFinder, options: RunOptions) -> None:
    from udonx.common.interrupts import stoppable
    from udonx.engine.device import choose, repeatable
    from udonx.reports.source import read_sources
    from udonx.running.neighbours import find_missing
    from udonx.running.session import Session

    session = Session(options, choose(options.device))
    with repeatable(session.device), stoppable():
        find_missing(read_sources(session.results)[0], images, session)


def _refusal(results: Path, message: str) -> ConfigError:
    return ConfigError([Problem(where=str(results), message=message)])

"""Brings databases of runs up to date with the run record of a results folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import attrs

from udonx.common.errors import UdonxError
from udonx.common.files import DamagedFileError
from udonx.common.words import display_path, plural
from udonx.config.problems import ConfigError, Problem
from udonx.running.mirror import StoredRun, open_database, run_folders, without_password
from udonx.running.record import check_observers

logger = logging.getLogger(__name__)


class SyncError(UdonxError):
    """A database could not be written; what it has is whole, and the same call goes on."""


@attrs.frozen(kw_only=True)
class Synced:
    """What was done to one database; `str()` says it in a line.

    Attributes:
        url: the database, without a password.
        written: runs that were copied, or brought up to date.
        there: runs that were there already.
        damaged: runs that could not be read; each was logged.
    """

    url: str
    written: int
    there: int
    damaged: int

    def __str__(self) -> str:
        damaged = f", {self.damaged} damaged and left out" if self.damaged else ""
        return f"{self.url}: {plural(self.written, 'run')} written, {self.there} there{damaged}"


def sync_runs(urls: Sequence[str], results: Path | str = Path("results")) -> list[Synced]:
    """Copy the runs of a results folder to databases that lack them, or parts of them.

    Args:
        urls: mongodb://HOST/DATABASE, or URLs of SQLAlchemy such as sqlite:///runs.db.
        results: the results folder, of this or an earlier version.

    Returns:
        What was done, for each database.

    Raises:
        ConfigError: a URL cannot be used, or there are no runs.
        SyncError: a database does not answer.

    Example:
        udonx.sync_runs(["sqlite:///runs.db"])
    """
    problems = [
        Problem(where="URL", message=message.removeprefix("results.observers: "))
        for message in check_observers(tuple(urls))
    ]
    folders = list(run_folders(Path(results) / "sacred"))
    if not folders:
        message = f"{display_path(results)} holds no runs; give the folder that `udonx run` wrote"
        problems.append(Problem(where="--results", message=message))
    if problems:
        raise ConfigError(problems)
    return [_sync(url, folders) for url in urls]


def _sync(url: str, folders: Sequence[Path]) -> Synced:
    name, database = without_password(url), open_database(url)
    counts = {True: 0, False: 0}
    damaged = 0
    for folder in folders:
        try:
            run = StoredRun.read(folder)
        except DamagedFileError as error:
            logger.warning(f"{error}; this run is left out")
            damaged += 1
            continue
        try:
            counts[database.write(run)] += 1
        # each package of a database has errors of its own
        except Exception as error:
            why = without_password(" ".join(f"{type(error).__name__}: {error}".split())[:200])
            raise SyncError(
                f"{name} could not be written ({why}); {counts[True]} of"
                f" {plural(len(folders), 'run')} were, and the same command goes on"
            ) from error
    return Synced(url=name, written=counts[True], there=counts[False], damaged=damaged)

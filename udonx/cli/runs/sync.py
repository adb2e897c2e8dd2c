"""`udonx runs sync`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from udonx.running.options import DEFAULTS, ResultsFolder

Urls = Annotated[
    tuple[str, ...],
    Parameter(
        name="URL",
        help="mongodb://HOST/DATABASE, or a URL of SQLAlchemy such as sqlite:///runs.db",
    ),
]


def sync(urls: Urls, /, *, results: ResultsFolder = DEFAULTS.results) -> None:
    """Copy to each database what it lacks of the runs, and print a line for each."""
    from udonx.running.sync import sync_runs

    for each in sync_runs(urls, results):
        print(each)

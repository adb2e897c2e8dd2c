"""`udonx run`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from udonx.cli.arguments import Files
from udonx.config.selection import WHOLE, Selection
from udonx.running.errors import RowsFailed
from udonx.running.events import Event
from udonx.running.options import DEFAULTS, RunOptions
from udonx.running.run import run as run_files

if TYPE_CHECKING:
    from udonx.tables.table import Table

logger = logging.getLogger(__name__)


Json = Annotated[
    bool,
    Parameter("--json", help="print what happens as it happens, one JSON object a line; no table"),
]


def run(
    files: Files,
    /,
    *,
    selection: Selection = WHOLE,
    options: RunOptions = DEFAULTS,
    as_json: Json = False,
) -> None:
    """Run experiments, and print their tables: of all files, if some rows failed too."""
    logger.info(
        "looking at files, data, weights and models first; nothing is trained before all of"
        " them fit"
    )
    if as_json:
        run_files(files, selection, options, listen=_print_event)
        return
    try:
        _print(run_files(files, selection, options))
    except RowsFailed as failed:
        _print(failed.tables)
        raise


def _print_event(event: Event) -> None:
    print(event.to_json(), flush=True)


def _print(tables: list[Table]) -> None:
    for table in tables:
        print(f"\n{table.to_text()}", flush=True)

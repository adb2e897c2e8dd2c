"""`udonx run`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from udonx.cli.arguments import Files
from udonx.config.selection import WHOLE, Selection
from udonx.running.errors import RowsFailed
from udonx.running.options import DEFAULTS, RunOptions
from udonx.running.run import run as run_files

if TYPE_CHECKING:
    from udonx.tables.table import Table

logger = logging.getLogger(__name__)


def run(files: Files, /, *, selection: Selection = WHOLE, options: RunOptions = DEFAULTS) -> None:
    """Run experiments, and print their tables: of all files, if some rows failed too."""
    logger.info(
        "looking at files, data, weights and models first; nothing is trained before all of"
        " them fit"
    )
    try:
        _print(run_files(files, selection, options))
    except RowsFailed as failed:
        _print(failed.tables)
        raise


def _print(tables: list[Table]) -> None:
    for table in tables:
        print(f"\n{table.to_text()}", flush=True)

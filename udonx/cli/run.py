"""`udonx run`: see `udonx.running.queue.run_experiments`."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from udonx.cli.common import load_all, options

if TYPE_CHECKING:
    from udonx.tables.table import Table

logger = logging.getLogger(__name__)


def main(parsed: argparse.Namespace) -> int:
    """Run, then print each table."""
    logger.info(
        "looking at files, data, weights and models first; nothing is trained before all of"
        " them fit"
    )
    experiments = load_all(parsed)
    from udonx.running.queue import RowsFailed, run_experiments

    try:
        _show(run_experiments(experiments, options(parsed)))
    except RowsFailed as failed:
        _show(failed.tables)
        raise
    return 0


def _show(tables: list[Table]) -> None:
    for table in tables:
        print(f"\n{table.to_text()}", flush=True)

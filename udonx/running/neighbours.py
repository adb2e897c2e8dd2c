"""Finds the neighbours that evaluations of earlier versions did not keep, with their stages."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from udonx.common.files import DamagedFileError
from udonx.common.progress import Report
from udonx.engine.errors import StageError
from udonx.evaluation.neighbours import KEPT_NEIGHBOURS
from udonx.evaluation.protocol import Embedder, ProtocolResult, evaluate, image_count
from udonx.inputs.open import OpenData
from udonx.reports.images import ImageFinder, ImagesError
from udonx.reports.source import TableSource
from udonx.running.evaluation import StageSource
from udonx.running.session import Session
from udonx.store.neighbours import NeighboursError, write_neighbours
from udonx.store.results import PerQueryError, Results, StoredEvaluation
from udonx.tables.content import TableRow

logger = logging.getLogger(__name__)


def find_missing(sources: Sequence[TableSource], images: ImageFinder, session: Session) -> None:
    """Keep the neighbours of every row's first evaluation that lacks them; trains nothing.

    Figures, ids and all other files stay as they are. What cannot be found is logged, in a sentence
    for each row.

    Args:
        sources: the stored tables.
        images: opens their images.
        session: how it runs.
    """
    for source in sources:
        for row in source.table.rows:
            if not _lacks(row, source.results):
                continue
            try:
                _find(row, source, images.open(source), session)
            except (ImagesError, NeighboursError, StageError, DamagedFileError) as error:
                logger.warning(f"no neighbours of {row.label} ({source.name}): {error}")


def _lacks(row: TableRow, results: Results) -> bool:
    """Whether an evaluation is whole but for its neighbours."""
    try:
        results.read_neighbours(row.evaluations[0], row.index)
    except NeighboursError:
        return True
    except PerQueryError:  # the table says so, and how it is made again
        return False
    return False


def _find(row: TableRow, source: TableSource, opened: OpenData, session: Session) -> None:
    """Embed and search again, and keep the neighbours alone.

    Raises:
        NeighboursError: the evaluation is gone, or the search finds something else than it did.
        StageError: a stage is gone.
        DamagedFileError: a stage or the evaluation is damaged.
    """
    results, identity = source.results, row.evaluations[0]
    stored = results.read_evaluation(identity)
    if stored is None:
        raise NeighboursError("its evaluation is gone; `udonx run` makes it again")
    result = _search(f"{row.label}: neighbours", stored, results, opened, session)
    for index, metrics in (("own", result.own), ("merged", result.merged)):
        if metrics is None:
            continue
        before_Q, now_Q = results.read_queries(identity, index).hit_Q, metrics.per_query.hit
        if not np.array_equal(before_Q, now_Q):
            raise NeighboursError(
                f"on this device ({session.device}) the nearest images are not those that were"
                " evaluated; give the device of that evaluation with --device"
            )
    write_neighbours(results.evaluation(identity), result)


def _search(
    title: str, stored: StoredEvaluation, results: Results, opened: OpenData, session: Session
) -> ProtocolResult:
    """What a stored evaluation finds, with its neighbours."""
    models = {
        stage: StageSource(results.stage(stage)).load(session.device)
        for stage in set(stored.stages.values())
    }
    embedders = {
        domain: Embedder(models[stage], stored.branch, "flip" if stored.tta else None)
        for domain, stage in stored.stages.items()
    }
    benchmark = opened.benchmark
    with Report(title, image_count(benchmark, embedders, "test"), "images") as report:
        result = evaluate(
            embedders,
            benchmark,
            opened.images,
            "test",
            merged=stored.merged is not None,
            device=session.device,
            workers=session.workers,
            tick=report.tick,
            neighbours=KEPT_NEIGHBOURS,
        )
    assert result is not None, "it had test images when it was evaluated"
    return result

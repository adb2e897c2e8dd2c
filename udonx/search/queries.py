"""Images, or vectors of images, as queries of an index.

Shapes: Q queries, D dimensions, K neighbours.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import attrs
import numpy as np

from udonx.common.options import as_tuple
from udonx.common.progress import Report
from udonx.common.words import display_path, plural, printable
from udonx.config.plugins import load_plugins
from udonx.data.errors import DataError
from udonx.data.images import MAX_PIXELS
from udonx.engine.device import choose
from udonx.engine.embed import embed_batches
from udonx.engine.loaded_model import LoadedModel
from udonx.engine.model_identity import ModelIdentity
from udonx.engine.models import open_model
from udonx.search.index import Index, Neighbours, is_index, open_vectors
from udonx.search.listing import list_images
from udonx.search.vectors import Vectors, VectorsError, check_same_model, is_vectors

logger = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class Found:
    """What queries found in an index.

    Attributes:
        queries: files of the queries.
        neighbours: of each query.
        index: where the index lies, or its name.
        model: what embedded both.
        unreadable: queries that could not be read and are left out, with what is wrong with them.
    """

    queries: Sequence[Path]
    neighbours: Neighbours
    index: str
    model: ModelIdentity
    unreadable: dict[str, str] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self.queries)

    def __str__(self) -> str:
        """The neighbours of each query, line by line: rank, similarity, file."""
        return "\n\n".join(
            "\n".join(
                [
                    printable(display_path(query)),
                    *(
                        f"{rank:4}  {found.score:6.3f}  {printable(display_path(found.path))}"
                        for rank, found in enumerate(neighbours, 1)
                    ),
                ]
            )
            for query, neighbours in zip(self.queries, self.neighbours, strict=True)
        )

    def to_json(self) -> str:
        """The same as JSON, for programs."""
        queries = [
            {
                "path": str(query),
                "neighbours": [
                    {"path": str(found.path), "score": found.score, "row": found.row}
                    for found in neighbours
                ],
            }
            for query, neighbours in zip(self.queries, self.neighbours, strict=True)
        ]
        content = {
            "index": self.index,
            "model": attrs.asdict(self.model),
            "queries": queries,
            "unreadable": self.unreadable,
        }
        return json.dumps(content, indent=1)

    def save_page(self, file: str | Path) -> None:
        """Write an HTML page of the queries and their neighbours, with small pictures in it."""
        from udonx.search.page import write_page

        write_page(self, Path(file))


def search_images(
    index: Index | str | Path,
    queries: Vectors | Index | str | Path | Sequence[str | Path],
    k: int | None = None,
    *,
    model: str | Path | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    plugins: Sequence[str] = (),
    max_pixels: int = MAX_PIXELS,
) -> Found:
    """Find the nearest images of an index.

    Args:
        index: an index, or its folder.
        queries: images, or folders of them; or vectors of the index's model: another index, a
            folder of vectors, or such objects.
        k: neighbours of each query; default: 10, or as many as there are.
        model: what embeds images; default: the model that the index knows.
        weights: the folder where start weights of backbones are looked up first.
        device: `cpu`, `cuda` or `cuda:N`; default: the GPU where there is one.
        workers: threads that decode images.
        plugins: modules or .py files to import first.
        max_pixels: larger images cannot be read.

    Returns:
        The neighbours of each query.

    Raises:
        VectorsError: no index, vectors of another model, no image that can be read, or a k beyond
            the size of the index.
        StageError: the model is not there.

    Example:
        udonx.search_images("photos.index", "query.jpg", k=5).save_page("found.html")
    """
    name = "the index" if isinstance(index, Index) else display_path(index)
    searched = index if isinstance(index, Index) else Index.load(index)
    given, unreadable = _stored(queries), dict[str, str]()
    if given is None:
        load_plugins(plugins, None, where="--plugin")
        images = [queries] if isinstance(queries, Path) else as_tuple(queries)  # type: ignore[arg-type]
        listed = list_images(images)
        files = [listed.root / image.path for image in listed.images]
        loaded = _open_model(searched.model, model, weights, device, name)
        given, unreadable = _embed(loaded, searched.model, files, max_pixels, workers)
    check_same_model(given.model, searched.model, name)
    return Found(given.files, searched.search(given, k), name, searched.model, unreadable)


def _stored(
    queries: Vectors | Index | str | Path | Sequence[str | Path],
) -> Vectors | None:
    """Queries that are vectors already; None of images."""
    if isinstance(queries, Vectors):
        return queries
    if isinstance(queries, Index):
        return queries.vectors
    if not isinstance(queries, str | Path):
        if len(queries) != 1:
            return None
        queries = queries[0]
    folder = Path(queries)
    return open_vectors(folder) if is_index(folder) or is_vectors(folder) else None


def _open_model(
    expected: ModelIdentity,
    model: str | Path | None,
    weights: str | Path | None,
    device: str | None,
    where: str,
) -> LoadedModel:
    """The model that embeds queries as the index's images were embedded.

    Raises:
        VectorsError: it is not where it was, or another one.
    """
    source = model or expected.source
    if not source or (model is None and os.path.isabs(source) and not os.path.exists(source)):
        raise VectorsError(
            f"{where} was made with {expected}, which is not at {source or 'a known place'} any"
            " more; say with --model where it is"
        )
    given = open_model(source, None if weights is None else Path(weights))
    loaded = LoadedModel.of(given, choose(device))
    found = loaded.identity(
        branch=expected.branch, domain=expected.domain, tta=expected.tta or "none"
    )
    check_same_model(found, expected, where)
    return loaded


def _embed(
    loaded: LoadedModel,
    model: ModelIdentity,
    files: Sequence[Path],
    max_pixels: int,
    workers: int | None,
) -> tuple[Vectors, dict[str, str]]:
    """Vectors of the images that can be read, and what is wrong with the others.

    Raises:
        VectorsError: none can be read.
    """
    embedder, domain = loaded.embedder(
        branch=model.branch, domain=model.domain, tta=model.tta or "none"
    )
    unreadable: dict[str, str] = {}

    def refuse(row: int, error: DataError) -> None:
        unreadable[str(files[row])] = str(error)

    vectors_QD, rows = np.empty((len(files), model.dim), np.float32), list[int]()
    batches = embed_batches(
        embedder,
        files,
        loaded.device,
        domain=domain,
        refused=refuse,
        max_pixels=max_pixels,
        workers=workers,
    )
    with Report("embedding", len(files), "images", closing_line=False) as report, closing(batches):
        for batch in batches:
            vectors_QD[len(rows) : len(rows) + len(batch.rows)] = batch.vectors_BD
            rows += batch.rows
            report.tick(len(batch.rows))
    if not rows:
        first = next(iter(unreadable.values()))
        raise VectorsError(
            first if len(files) == 1 else f"none of {len(files)} images can be read; first: {first}"
        )
    if unreadable:
        first = next(iter(unreadable.values()))
        left_out = plural(len(unreadable), "image")
        logger.warning(f"left out: {left_out} that cannot be read; the first: {first}")
    paths = [str(files[row]) for row in rows]
    kept = Vectors(vectors=vectors_QD[: len(rows)], paths=paths, model=model, root=Path("/"))
    return kept, unreadable

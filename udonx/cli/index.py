"""`udonx index`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from udonx.common.words import display_path, plural
from udonx.config.selection import Plugins
from udonx.running.options import DeviceName, Workers

logger = logging.getLogger(__name__)

Out = Annotated[Path, Parameter(metavar="INDEX", help="the folder of the index")]
Kind = Annotated[
    Literal["exact", "hnsw", "ivfpq"] | None,
    Parameter(help="how it is searched (default: by size, exactly up to 500,000 vectors)"),
]
Model = Annotated[
    str | None,
    Parameter(
        metavar="MODEL",
        help="the DIRs hold images, which this model embeds first, into INDEX.vectors",
    ),
]
Add = Annotated[bool, Parameter(help="add to INDEX; images that it has get their new vectors")]
Remove = Annotated[
    tuple[str, ...],
    Parameter(
        metavar="PATTERN",
        help="remove images from INDEX whose paths match, such as 'cars/*' (may be repeated)",
    ),
]
Overwrite = Annotated[bool, Parameter(help="replace the index that is there")]
Weights = Annotated[
    Path | None,
    Parameter(metavar="DIR", help="where start weights of backbones are looked up first"),
]
Export = Annotated[
    Literal["qdrant", "lancedb", "parquet"] | None,
    Parameter(
        help="write into INDEX what this search engine opens, in place of an index; the DIRs are"
        " folders of vectors or indexes"
    ),
]


def index(
    *folders: Annotated[
        str,
        Parameter(name="DIR", help="folders of vectors (udonx embed), or with --model of images"),
    ],
    out: Out,
    kind: Kind = None,
    model: Model = None,
    add: Add = False,
    remove: Remove = (),
    overwrite: Overwrite = False,
    export: Export = None,
    weights: Weights = None,
    device: DeviceName = None,
    workers: Workers = None,
    plugins: Plugins = (),
) -> None:
    """Make or change the index, then log what it holds and how well it is searched."""
    if export is not None:
        others = {"--kind": kind, "--model": model, "--add": add, "--remove": remove}
        _export(folders, export, out, others | {"--overwrite": overwrite})
        return
    from udonx.search.build import index as make_index

    made = make_index(
        folders,
        out=out,
        kind=kind,
        model=model,
        add=add,
        remove=remove,
        overwrite=overwrite,
        weights=weights,
        device=device,
        workers=workers,
        plugins=plugins,
    )
    recall = f": {made.recall}" if made.recall else ""
    logger.info(
        f"{display_path(out)}: {plural(len(made), 'vector')} of {made.model}, {made.kind}{recall}"
    )


def _export(
    folders: tuple[str, ...],
    engine: Literal["qdrant", "lancedb", "parquet"],
    out: Path,
    others: Mapping[str, object],
) -> None:
    """Write the vectors for a search engine, then log how many they are.

    Args:
        folders: of vectors, or indexes.
        engine: what opens `out` then.
        out: the folder to write.
        others: options that make or change an index, by name.

    Raises:
        VectorsError: one of these was given.
    """
    from udonx.search.engines import export_vectors
    from udonx.search.vectors import VectorsError

    if given := [name for name, value in others.items() if value]:
        raise VectorsError(
            f"--export makes no index: it cannot go with {', '.join(given)}; make the index first,"
            " and give it as DIR"
        )
    vectors = export_vectors(folders, engine, out)
    logger.info(
        f"{display_path(out)}: {plural(len(vectors), 'vector')} of {vectors.model}, for {engine}"
    )

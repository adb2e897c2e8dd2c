"""`udonx index`."""

from __future__ import annotations

import logging
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
    weights: Weights = None,
    device: DeviceName = None,
    workers: Workers = None,
    plugins: Plugins = (),
) -> None:
    """Make or change the index, then log what it holds and how well it is searched."""
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

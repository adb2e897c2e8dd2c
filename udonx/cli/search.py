"""`udonx search`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from udonx.common.words import display_path
from udonx.config.selection import Plugins
from udonx.running.options import DeviceName, Workers

logger = logging.getLogger(__name__)

IndexFolder = Annotated[Path, Parameter(name="INDEX", help="what `udonx index` wrote")]
Count = Annotated[
    int | None,
    Parameter(
        ("-k", "--neighbours"),
        metavar="N",
        help="neighbours of each query (default: 10, or as many as there are)",
    ),
]
Model = Annotated[
    str | None,
    Parameter(
        metavar="MODEL", help="what embeds the images (default: the model that INDEX was made with)"
    ),
]
Page = Annotated[
    Path | None,
    Parameter(metavar="FILE", help="write an HTML page with the pictures, in place of the table"),
]
Json = Annotated[bool, Parameter(help="print JSON")]
Weights = Annotated[
    Path | None,
    Parameter(metavar="DIR", help="where start weights of backbones are looked up first"),
]


def search(
    index: IndexFolder,
    /,
    *queries: Annotated[
        str,
        Parameter(
            name="QUERY",
            help="images, folders of them, or @FILE with one path a line; or another index or a"
            " folder of vectors",
        ),
    ],
    k: Count = None,
    model: Model = None,
    page: Page = None,
    json: Json = False,
    weights: Weights = None,
    device: DeviceName = None,
    workers: Workers = None,
    plugins: Plugins = (),
) -> None:
    """Print the neighbours of each query."""
    from udonx.search.queries import search_images

    found = search_images(
        index,
        queries,
        k,
        model=model,
        weights=weights,
        device=device,
        workers=workers,
        plugins=plugins,
    )
    if page is not None:
        found.save_page(page)
        logger.info(f"wrote {display_path(page)}")
    if json:
        print(found.to_json())
    elif page is None:
        print(found)

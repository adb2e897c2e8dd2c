"""`udonx embed`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from udonx.common.words import display_path, plural
from udonx.config.selection import Plugins
from udonx.running.options import DeviceName, Workers

logger = logging.getLogger(__name__)

Model = Annotated[
    str,
    Parameter(
        name="MODEL",
        help="a folder of results/stages, an exported folder, or a backbone off the shelf"
        " (SETTING:ROLE, a model of timm, a folder in its layout)",
    ),
]
Out = Annotated[Path, Parameter(metavar="DIR", help="the folder of vectors to write")]
Form = Annotated[
    Literal["npy", "parquet", "safetensors"],
    Parameter("--format", help="how the vectors lie in DIR (default: npy, mapped into memory)"),
]
Dtype = Annotated[
    Literal["float32", "float16"], Parameter(help="type of the vectors (default: float32)")
]
Branch = Annotated[
    Literal["student", "teacher", "feature"] | None,
    Parameter(help="what embeds (default: the student, else what the stage trained)"),
]
Domain = Annotated[
    str | None,
    Parameter(metavar="NAME", help="whose teacher embeds, of a teacher branch of several domains"),
]
Tta = Annotated[
    Literal["none", "flip"],
    Parameter(help="flip: the mean over each image and its mirror image (default: none)"),
]
Strict = Annotated[
    bool, Parameter(help="end at the first image that cannot be read (default: leave it out)")
]
Overwrite = Annotated[bool, Parameter(help="forget the vectors that DIR holds, and begin again")]
MaxPixels = Annotated[
    int, Parameter(metavar="N", help="larger images cannot be read (default: 100,000,000)")
]
Weights = Annotated[
    Path | None,
    Parameter(metavar="DIR", help="where start weights of backbones are looked up first"),
]


def embed(
    model: Model,
    /,
    *paths: Annotated[
        str,
        Parameter(
            name="PATH",
            help="folders, searched to any depth, images, or @FILE with one path a line",
        ),
    ],
    out: Out,
    form: Form = "npy",
    dtype: Dtype = "float32",
    branch: Branch = None,
    domain: Domain = None,
    tta: Tta = "none",
    strict: Strict = False,
    overwrite: Overwrite = False,
    max_pixels: MaxPixels = 100_000_000,
    weights: Weights = None,
    device: DeviceName = None,
    workers: Workers = None,
    plugins: Plugins = (),
) -> None:
    """Embed the images, then log how many there are and which could not be read."""
    from udonx.search.embed import UNREADABLE
    from udonx.search.embed import embed as embed_images

    made = embed_images(
        model,
        paths,
        out=out,
        storage=form,
        dtype=dtype,
        branch=branch,
        domain=domain,
        tta=tta,
        strict=strict,
        overwrite=overwrite,
        max_pixels=max_pixels,
        weights=weights,
        device=device,
        workers=workers,
        plugins=plugins,
    )
    where = display_path(made.folder)
    logger.info(f"{where}: {plural(made.count, 'vector')} of {made.model}, {made.new} of them new")
    if made.unreadable:
        logger.warning(
            f"left out: {plural(len(made.unreadable), 'image')}, listed in {where}/{UNREADABLE};"
            f" the first: {next(iter(made.unreadable.values()))}"
        )

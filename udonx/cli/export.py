"""`udonx export`."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from udonx.config.plugins import load_plugins
from udonx.config.selection import Plugins

logger = logging.getLogger(__name__)

Stage = Annotated[Path, Parameter(name="STAGE_FOLDER", help="a folder of results/stages")]
Out = Annotated[
    Path,
    Parameter(
        name="DIR",
        help="the folder to write: backbone in timm's layout, head, and embedding.py that uses"
        " them",
    ),
]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"],
    Parameter(help="precision of the backbone's file (default: float32)"),
]
Overwrite = Annotated[bool, Parameter(help="replace an earlier export in DIR")]


def export(
    stage: Stage,
    out: Out,
    /,
    *,
    dtype: Dtype = "float32",
    plugins: Plugins = (),
    overwrite: Overwrite = False,
) -> None:
    """Write the folder, then log what is in it and how it is used."""
    load_plugins(plugins, None, where="--plugin")
    from udonx.engine.export import export_stage

    written = export_stage(stage, out, dtype, overwrite=overwrite)
    backbone = (
        f"the backbone ({written.features} features; timm.create_model('local-dir:{out}',"
        " pretrained=True))"
    )
    holds = (
        f"{backbone} and {written.head} ({written.dim} dimensions)"
        if written.head
        else f"{backbone}, no head: {written.without}"
    )
    use = f"from embedding import Embedding; Embedding.load('{out}').embed(['photo.jpg'])"
    logger.info(
        f"wrote {out}: {holds}; embedding.py there prepares images as udonx does:"
        f" PYTHONPATH={shlex.quote(str(out))}, then {use}"
    )

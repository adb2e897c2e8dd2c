"""`udonx export`."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from udonx.config.plugins import load_plugins
from udonx.config.selection import Plugins

if TYPE_CHECKING:
    from udonx.engine.export import Export, WrittenFormat

logger = logging.getLogger(__name__)

Stage = Annotated[Path, Parameter(name="STAGE_FOLDER", help="a folder of results/stages")]
Out = Annotated[Path, Parameter(name="DIR", help="the folder to write")]
Formats = Annotated[
    tuple[Literal["timm", "onnx", "torch"], ...],
    Parameter(
        "--format",
        help="timm: backbone in timm's layout, head, and embedding.py that uses them; onnx, torch:"
        " all from the mean to the unit length in one file (may be repeated; default: timm)",
    ),
]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"],
    Parameter(help="precision of timm's file of the backbone (default: float32)"),
]
Tta = Annotated[
    Literal["none", "flip"],
    Parameter(help="flip: the mean over an image and its mirror image, inside (default: none)"),
]
Images = Annotated[
    Path | None,
    Parameter(metavar="DIR", help="images to check on (default: generated pictures)"),
]
Overwrite = Annotated[bool, Parameter(help="replace an earlier export in DIR")]


def export(
    stage: Stage,
    out: Out,
    /,
    *,
    formats: Formats = ("timm",),
    dtype: Dtype = "float32",
    tta: Tta = "none",
    images: Images = None,
    plugins: Plugins = (),
    overwrite: Overwrite = False,
) -> None:
    """Write the folder, then log what is in it and how it is used."""
    load_plugins(plugins, None, where="--plugin")
    from udonx.running.export import export_stage

    written = export_stage(
        stage, out, formats, dtype=dtype, tta=tta, images=images, overwrite=overwrite
    )
    for each in written.written:
        logger.info(_describe(written, each))


def _describe(export: Export, written: WrittenFormat) -> str:
    """What one format holds, how it is used, and how near it comes to udonx's own output."""
    differs = (
        f"differs from udonx by at most {written.difference:.1g} on {export.images}"
        f" image{'s' * (export.images != 1)}"
    )
    if written.name != "timm":
        holds = written.head or f"the backbone's features, no head: {written.without}"
        return (
            f"wrote {written.file}: {holds} ({written.dim} dimensions), of images float32 [batch,"
            f" 3, {export.crop}, {export.crop}], 0..255; {differs};"
            f" udonx.load_model('{written.file}').embed(['photo.jpg'])"
        )
    backbone = (
        f"the backbone ({export.features} features; timm.create_model('local-dir:{export.path}',"
        " pretrained=True))"
    )
    holds = (
        f"{backbone} and {written.head} ({written.dim} dimensions)"
        if written.head
        else f"{backbone}, no head: {written.without}"
    )
    use = f"from embedding import Embedding; Embedding.load('{export.path}').embed(['photo.jpg'])"
    return (
        f"wrote {export.path}: {holds}; {differs}; embedding.py there prepares images as udonx"
        f" does: PYTHONPATH={shlex.quote(str(export.path))}, then {use}"
    )

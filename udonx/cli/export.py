"""`udonx export`: a trained stage as a folder for timm, and for people without udonx."""

from __future__ import annotations

import argparse
import logging
import shlex

from udonx.config.plugins import load_plugins

logger = logging.getLogger(__name__)


def main(parsed: argparse.Namespace) -> int:
    """Write the folder, then say what is in it and how it is used."""
    load_plugins(parsed.plugins, None, where="--plugin")
    from udonx.engine.export import export_stage

    export = export_stage(parsed.stage, parsed.out, parsed.dtype, overwrite=parsed.overwrite)
    out = export.path
    backbone = (
        f"the backbone ({export.features} features; timm.create_model('local-dir:{out}',"
        " pretrained=True))"
    )
    holds = (
        f"{backbone} and {export.head} ({export.dim} dimensions)"
        if export.head
        else f"{backbone}, no head: {export.without}"
    )
    use = f"from embedding import Embedding; Embedding.load('{out}').embed(['photo.jpg'])"
    logger.info(
        f"wrote {out}: {holds}; embedding.py there prepares images as udonx does:"
        f" PYTHONPATH={shlex.quote(str(out))}, then {use}"
    )
    return 0

"""`udonx export`: a stage's backbone in timm's folder layout."""

from __future__ import annotations

import argparse

from udonx.cli.common import say


def main(parsed: argparse.Namespace) -> int:
    """Write config.json and model.safetensors."""
    from udonx.engine.export import export_backbone

    try:
        path = export_backbone(parsed.stage, parsed.out, parsed.dtype)
    except ValueError as error:  # the folder is no finished stage, or not one of timm's
        say(f"udonx export: {error}")
        return 2
    say(f"wrote {path}/config.json and {path}/model.safetensors: timm.create_model('local-dir:{path}', pretrained=True)")
    return 0

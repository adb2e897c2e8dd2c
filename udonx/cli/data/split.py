"""`udonx data split`: see `udonx.data.prepare.folders.split_folders`."""

from __future__ import annotations

import argparse
import logging
from contextlib import ExitStack

from udonx.common.progress import Report
from udonx.data.prepare.folders import FolderSplit, split_folders
from udonx.data.prepare.report import describe_split

logger = logging.getLogger(__name__)


def main(parsed: argparse.Namespace) -> int:
    """Split, then print what became of each domain and what to do next."""
    try:
        split = _split(parsed)
    except OSError as error:  # a full disk, no permission
        logger.error(f"udonx data split: {error.strerror}: {error.filename}; nothing was written")
        return 1
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; nothing was written") from None
    print(f"\n{describe_split(split)}")
    return 0


def _split(parsed: argparse.Namespace) -> FolderSplit:
    with ExitStack() as stack:
        bar: list[Report] = []

        def progress(done: int, total: int) -> None:
            if not bar:
                title = "decoding every image once" if parsed.verify else "opening every image once"
                bar.append(stack.enter_context(Report(title, total, "images")))
            bar[0].tick(done - bar[0].count)

        # listing many folders on a network disk takes a while
        logger.info(f"looking for images in {parsed.source}")
        return split_folders(
            parsed.source,
            parsed.out,
            shares=parsed.shares,
            min_images=parsed.min_images,
            seed=parsed.seed,
            verify=parsed.verify,
            progress=progress,
        )

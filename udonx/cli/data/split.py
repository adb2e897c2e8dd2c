"""`udonx data split`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from udonx.common.errors import FAILED

logger = logging.getLogger(__name__)


def _shares(_: Any, tokens: Sequence[Any]) -> tuple[float, ...]:
    """`0.6,0.2,0.2` as numbers; their number is checked later, with all else."""
    text = tokens[0].value
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"got {text!r}, allowed are three numbers such as 0.6,0.2,0.2") from None


Source = Annotated[
    Path, Parameter(name="DIR", help="the class folders: DIR/<domain>/<class>/<image>")
]
Out = Annotated[
    Path,
    Parameter(metavar="DIR2", help="the folder to make: images/ (links to DIR) and info_files/"),
]
Shares = Annotated[
    tuple[float, ...],
    Parameter(
        converter=_shares,
        n_tokens=1,
        metavar="0.6,0.2,0.2",
        help="shares of a domain's classes for train, val and test (default: 0.6,0.2,0.2); val may"
        " be 0",
    ),
]
MinImages = Annotated[
    int, Parameter(metavar="N", help="leave out classes with fewer images (default: 2)")
]
Seed = Annotated[
    int, Parameter(metavar="N", help="which classes are drawn for which split (default: 0)")
]
Verify = Annotated[
    bool, Parameter(help="decode every image, and leave out those that are damaged anywhere")
]


def split(
    source: Source,
    /,
    *,
    out: Out,
    shares: Shares = (0.6, 0.2, 0.2),
    min_images: MinImages = 2,
    seed: Seed = 0,
    verify: Verify = False,
) -> int:
    """Split, then print what became of each domain and what to do next."""
    from udonx.common.progress import progress_of
    from udonx.data.prepare.folders import split_folders
    from udonx.data.prepare.report import describe_split

    # listing many folders on a network disk takes a while
    logger.info(f"looking for images in {source}")
    title = "decoding every image once" if verify else "opening every image once"
    try:
        with progress_of(title, "images") as progress:
            made = split_folders(
                source,
                out,
                shares=shares,
                min_images=min_images,
                seed=seed,
                verify=verify,
                progress=progress,
            )
    except OSError as error:  # a full disk, no permission
        logger.error(f"udonx data split: {error.strerror}: {error.filename}; nothing was written")
        return FAILED
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; nothing was written") from None
    print(f"\n{describe_split(made)}")
    return 0

"""What identities need to know of a benchmark.

That is a hash of what its split files say, and one of the images that they name.

Nothing here is kept between calls: what would have to be looked at to know that a kept hash still
holds is what the hash is made of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii
from pathlib import Path

import numpy as np

from registry.contracts import DomainFacts
from udonx.common.files import read_bytes
from udonx.data.paths import resolve_image
from udonx.data.sizes import MISSING
from udonx.data.splits import Split

_READ = 16  # images of each split whose bytes are part of its hash


def train_facts(domain: str, train: Split | None) -> DomainFacts:
    """Count a domain's training images and classes; 0 where it has no train split."""
    if train is None:
        return DomainFacts(name=domain, train_images=0, train_classes=0)
    return DomainFacts(name=domain, train_images=len(train), train_classes=len(train.classes()))


def split_digest(split: Split) -> str:
    """Hash of what a split file says: sha256 in hex over paths and class ids in its order.

    Where the file lies and how it is formatted is no part of it.
    """
    digest = hashlib.sha256()
    several = {row: json.dumps(labels) for row, labels in split.several.items()}
    for row, (path, label) in enumerate(zip(split.paths, split.class_ids.tolist(), strict=True)):
        # JSON of the pair: no path can imitate the separator.
        digest.update(f"[{encode_basestring_ascii(path)}, {several.get(row, label)}]\n".encode())
    return digest.hexdigest()


def images_digest(root: Path | str, split: Split, sizes_N: np.ndarray) -> str:
    """Hash of the images of a split, sha256 in hex.

    It covers the sizes of all, and the bytes of a few at fixed positions, the first and the last
    among them. Where they lie and when they were written is no part of it.

    Args:
        root: the folder that holds `images`.
        split: N entries.
        sizes_N: int64 [N], as `image_sizes` returns them.

    Raises:
        OSError: an image cannot be read.
    """
    digest = hashlib.sha256(sizes_N.astype("<i8").tobytes())
    for row in np.unique(np.linspace(0, len(split) - 1, _READ).astype(np.int64)).tolist():
        content = (
            b"" if sizes_N[row] == MISSING else read_bytes(resolve_image(root, split.paths[row]))
        )
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def manifest_hash(domain: str, fingerprint: str, splits: Sequence[tuple[str, ...]]) -> str:
    """Hash of a domain and its splits, sha256 in hex.

    It covers what generated the images, and for each split its name, its `split_digest` and, of
    images that were not generated, its `images_digest`.
    """
    content = [domain, fingerprint, [list(split) for split in splits]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()

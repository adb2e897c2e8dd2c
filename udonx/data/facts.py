"""What planning needs to know of split files: counts, and a hash of their content. Cached, so that a large file is read once.

The cache key of a file is its path, size and modification time in nanoseconds; what is cached never depends on where it lies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import attrs

from registry.contracts import DomainFacts
from udonx.data.splits import BenchmarkLayout, Split, read_split, split_file
from udonx.files import cache_dir, write_atomic

# Raised when the summary below changes: older cache entries are then no longer found.
_VERSION = 1


@attrs.frozen
class _Summary:
    images: int
    classes: int
    digest: str  # sha256 over paths and class ids in the file's order


def facts(root: Path | str, domains: Sequence[str]) -> dict[str, DomainFacts]:
    """Count the training images and classes of each domain, in the given order; 0 where it has no train split.

    Args:
        root: the folder that holds `images` and `info_files`.
        domains: names, as `BenchmarkLayout.domains` returns them.

    Raises:
        DataError: a domain is missing or one of its split files is malformed.
    """
    layout = BenchmarkLayout(root)
    result = {}
    for domain in domains:
        train = _summary(layout.root, domain, "train") if "train" in layout.split_names(domain) else _Summary(0, 0, "")
        result[domain] = DomainFacts(name=domain, train_images=train.images, train_classes=train.classes)
    return result


def manifest_hash(root: Path | str, domain: str, splits: Sequence[str], fingerprint: str) -> str:
    """Hash what a domain's split files say, not where they lie or how they are formatted.

    Args:
        root: the folder that holds `images` and `info_files`.
        domain: a domain's name.
        splits: the splits that matter, in a fixed order.
        fingerprint: what else determines the images (generator version and seed), "" for files as published.

    Returns:
        sha256 in hex over domain, fingerprint and, per split, its name and its paths and class ids in the file's order.

    Raises:
        DataError: a split is missing or malformed.
    """
    content = [domain, fingerprint, [[split, _summary(root, domain, split).digest] for split in splits]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _summary(root: Path | str, domain: str, split: str) -> _Summary:
    file = split_file(root, domain, split)
    folder = cache_dir()
    if folder is None or not file.is_file():
        return _summarise(read_split(root, domain, split))
    about = file.stat()
    key = json.dumps([_VERSION, str(file.resolve()), about.st_size, about.st_mtime_ns])
    cached = folder / "splits" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    if cached.is_file():
        return _Summary(**json.loads(cached.read_bytes()))
    summary = _summarise(read_split(root, domain, split))
    write_atomic(cached, json.dumps(attrs.asdict(summary)))
    return summary


def _summarise(split: Split) -> _Summary:
    digest = hashlib.sha256()
    for row, (path, label) in enumerate(zip(split.paths, split.class_ids.tolist(), strict=True)):
        # JSON of the pair: no path can imitate the separator.
        digest.update(json.dumps([path, split.several.get(row, label)]).encode() + b"\n")
    return _Summary(len(split), len(split.classes()), digest.hexdigest())

"""What a machine lacks to run udonx, in one sentence each."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import attrs

from udonx.common.cache import cache_dir, cache_problem
from udonx.common.progress import progress_of
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.paths import resolve_image
from udonx.data.prepare.class_folders import printable
from udonx.data.prepare.verify import look_at, turned_sentence
from udonx.running.record import import_sacred

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "pydantic",
    "attrs",
    "catalogue",
    "sacred",
    "torchmetrics",
    "faiss-cpu",
    "setuptools",
)
_HEADERS = 10_000  # of more images, so many are opened where the whole of them was not asked for


@attrs.frozen
class Finding:
    """One thing that was looked at, good or not."""

    good: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'BAD '} {self.text}"


def examine(
    *,
    data: str | Path | None = None,
    weights: str | Path | None = None,
    results: str | Path = "results",
    verify: bool = False,
) -> Iterator[Finding]:
    """Look at this machine, one finding after the other.

    Versions, the torch/torchvision pair, GPU, Sacred, disk, caches, and the folders of data and
    weights where they are given.

    Args:
        data: a folder of data.
        weights: a folder of start weights.
        results: the results folder, whose disk is looked at.
        verify: decode every image of the data.
    """
    versions = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                False,
                f"the package {name} is not installed: pip install -e . (or pip install udonx)",
            )
    yield Finding(True, f"Python {sys.version.split()[0]}; {', '.join(versions)}")
    yield _pair()
    yield _gpu()
    yield _sacred()
    yield from _disk(Path(results))
    if data:
        yield from _data(Path(data), verify)
    elif verify:
        yield Finding(
            False, "--verify decodes the images of a data folder: give it with --data DIR"
        )
    for folder in [weights] if weights else []:
        names = sorted(path.parent.name for path in Path(folder).glob("*/model.safetensors"))
        none = "none; it must hold folders with config.json and model.safetensors"
        yield Finding(bool(names), f"weights in {folder}: {', '.join(names) or none}")


def _pair() -> Finding:
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        cure = "install both together: pip install --force-reinstall torch torchvision"
        return Finding(False, f"torch and torchvision do not fit each other ({error}); {cure}")
    return Finding(True, "torch and torchvision fit each other")


def _gpu() -> Finding:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(
            False,
            f"torch cannot be imported ({error}); install it with torchvision: pip install"
            " --force-reinstall torch torchvision",
        )
    if not torch.cuda.is_available():
        return Finding(
            True,
            f"no GPU: runs use the CPU ({os.cpu_count()} cores, torch uses"
            f" {torch.get_num_threads()} threads)",
        )
    cards = [
        f"cuda:{number} {torch.cuda.get_device_name(number)}"
        for number in range(torch.cuda.device_count())
    ]
    return Finding(True, f"GPU: {', '.join(cards)}")


def _sacred() -> Finding:
    try:
        import_sacred()
    except ImportError as error:
        return Finding(
            False,
            f"sacred cannot be imported ({error}); it needs pkg_resources: pip install"
            " 'setuptools>=77.0.3,<82'",
        )
    return Finding(True, "sacred can be imported")


def _disk(results: Path) -> Iterator[Finding]:
    anchor = next(
        folder for folder in (results.resolve(), *results.resolve().parents) if folder.exists()
    )
    writable = os.access(anchor, os.W_OK)
    free = shutil.disk_usage(anchor).free / 1e9
    yield Finding(
        writable and free > 1,
        f"results folder {results}: {free:.0f} GB"
        f" free{'' if writable else ', but it cannot be written'}",
    )
    cache = cache_dir()
    where = f" {cache}" if cache else f": everything works but the demo; {cache_problem()}"
    yield Finding(cache is not None, f"cache folder{where}")


def _data(root: Path, verify: bool) -> Iterator[Finding]:
    try:
        benchmark = Benchmark.open(root)
        counted = benchmark.facts
        splits = [
            benchmark.split(domain, name)
            for domain in benchmark.domains
            for name in benchmark.layout.split_names(domain)
        ]
    except DataError as error:
        yield Finding(False, f"data: {error}")
        return
    train = sum(fact.train_images for fact in counted)
    yield Finding(
        True,
        f"data in {root}: {len(counted)} domains ({', '.join(benchmark.domains)}), {train} training"
        " images",
    )
    yield from _images(
        root, list(dict.fromkeys(path for split in splits for path in split.paths)), verify
    )


def _images(root: Path, paths: list[str], verify: bool) -> Iterator[Finding]:
    """Look at images: at their headers, or at the whole of them.

    Where they are many, the headers of some from everywhere are enough.
    """
    some = paths if verify else paths[:: -(-len(paths) // _HEADERS)]
    title = "decoding every image" if verify else "opening images"
    with progress_of(title, "images", closing_line=False) as progress:
        looked = look_at(some, partial(resolve_image, root), whole=verify, progress=progress)
    for path, why in looked.unreadable.items():
        yield Finding(
            False,
            f"image {printable(path)} cannot be {'decoded' if verify else 'opened'} ({why}):"
            " replace it or take it out",
        )
    if not looked.unreadable:
        of = f"{len(some):,}" if len(some) == len(paths) else f"{len(some):,} of {len(paths):,}"
        more = "" if verify else "; damage further on than the header is found by --verify"
        yield Finding(True, f"images: {of} can be {'decoded' if verify else 'opened'}{more}")
    if looked.turned.count:
        yield Finding(True, turned_sentence(looked.turned, len(some)))

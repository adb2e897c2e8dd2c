"""What a machine lacks to run udonx, in one sentence each."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.files import cache_dir
from udonx.results.record import import_sacred

_PACKAGES = ("torch", "torchvision", "timm", "pydantic", "attrs", "catalogue", "sacred", "torchmetrics", "faiss-cpu", "setuptools")


@attrs.frozen
class Finding:
    """One thing that was looked at, good or not."""

    good: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'BAD '} {self.text}"


def examine(*, data: str | None, weights: str | None, results: str) -> Iterator[Finding]:
    """Versions, the torch/torchvision pair, GPU, Sacred, disk, caches, and the data and weights folders where given."""
    versions = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(False, f"the package {name} is not installed: pip install -e . (or pip install udonx)")
    yield Finding(True, f"Python {sys.version.split()[0]}; {', '.join(versions)}")
    yield _pair()
    yield _gpu()
    yield _sacred()
    yield from _disk(Path(results))
    if data:
        yield _data(Path(data))
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
            False, f"torch cannot be imported ({error}); install it with torchvision: pip install --force-reinstall torch torchvision"
        )
    if not torch.cuda.is_available():
        return Finding(True, f"no GPU: runs use the CPU ({os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads)")
    cards = [f"cuda:{number} {torch.cuda.get_device_name(number)}" for number in range(torch.cuda.device_count())]
    return Finding(True, f"GPU: {', '.join(cards)}")


def _sacred() -> Finding:
    try:
        import_sacred()
    except ImportError as error:
        return Finding(False, f"sacred cannot be imported ({error}); it needs pkg_resources: pip install 'setuptools>=77.0.3,<82'")
    return Finding(True, "sacred can be imported")


def _disk(results: Path) -> Iterator[Finding]:
    anchor = next(folder for folder in (results.resolve(), *results.resolve().parents) if folder.exists())
    writable = os.access(anchor, os.W_OK)
    free = shutil.disk_usage(anchor).free / 1e9
    yield Finding(writable and free > 1, f"results folder {results}: {free:.0f} GB free{'' if writable else ', but it cannot be written'}")
    cache = cache_dir()
    where = str(cache) if cache else "cannot be written: everything works, but the demo needs one (set UDONX_CACHE)"
    yield Finding(cache is not None, f"cache folder {where}")


def _data(root: Path) -> Finding:
    try:
        benchmark = Benchmark.open(root)
        counted = benchmark.facts
    except DataError as error:
        return Finding(False, f"data: {error}")
    images = sum(fact.train_images for fact in counted)
    return Finding(True, f"data in {root}: {len(counted)} domains ({', '.join(benchmark.domains)}), {images} training images")

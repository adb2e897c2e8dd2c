"""Write a generated benchmark in UnED's layout: `images/<domain>/<class>/<image>.png` and `info_files/<domain>/<split>.json`.

Every image depends only on (GENERATOR_VERSION, seed, domain, class, image number), so neither order nor processes matter.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from udonx.data.demo.canvas import rng_for
from udonx.data.demo.families import DEMO, PRETRAIN, Domain, Split

GENERATOR_VERSION = 1
"""Part of every seed. Raise it when any picture changes, so that figures taken on other pictures are not compared."""

DEMO_DOMAINS: tuple[str, ...] = tuple(DEMO)
PRETRAIN_DOMAINS: tuple[str, ...] = tuple(PRETRAIN)

Size: TypeAlias = Literal["full", "smoke"]
ClassJob: TypeAlias = tuple[str, int, int]  # domain, class id, number of images

_PX = {"full": 48, "smoke": 32}
_CHUNK = 12  # classes a worker takes at a time


def write_benchmark(
    root: Path, *, seed: int = 0, size: Size = "full", pretrain: bool = False, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write the benchmark whole or not at all: into a temporary sibling folder, then one os.replace to root.

    root: the folder to make; it must not exist, or be empty.

    Options: `seed` of every class and picture; `size` "smoke" for a few classes of 32 px, for tests; `pretrain` for the other eight
    families, on which the demo's small backbone is pre-trained; `progress(done, total)` is called with numbers of images.

    Raises: `FileExistsError` if root holds anything; any other `OSError` from writing. In both cases nothing is left behind.
    """
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root} already exists and is not an empty folder; remove it or name another one")
    domains = PRETRAIN if pretrain else DEMO
    plan = {name: plan_domain(name, domain, seed=seed, size=size) for name, domain in domains.items()}
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        temporary.chmod(0o755)  # mkdtemp makes it private
        jobs = [(name, class_id, count) for name, splits in plan.items() for split in splits.values() for class_id, count in split]
        total = sum(count for _, _, count in jobs)
        done = 0
        for count in _render(temporary, jobs, seed=seed, px=_PX[size], workers=1 if size == "smoke" else _workers()):
            done += count
            if progress is not None:
                progress(done, total)
        for name, splits in plan.items():
            _write_info(temporary / "info_files" / name, name, splits, domains[name].has_index)
        os.replace(temporary, root)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def plan_domain(name: str, domain: Domain, *, seed: int, size: Size) -> dict[str, list[tuple[int, int]]]:
    """Which classes a domain has: split -> [(class id, number of images)]; ids run on from train to val to test."""
    splits = {"train": domain.train, "val": domain.val, "test": domain.test}
    if size == "smoke":
        few = 4 + list(PRETRAIN if name in PRETRAIN else DEMO).index(name) % 3
        splits = {"train": Split(few, 5 * few), "val": Split(3, 15), "test": Split(3, 18)}
    plan, first = {}, 0
    for split, wanted in splits.items():
        counts = long_tail(wanted, domain.tail, least=2 if split == "train" else 4)
        rng_for(GENERATOR_VERSION, seed, name, split, "order").shuffle(counts)
        plan[split] = [(first + i, count) for i, count in enumerate(counts)]
        first += wanted.classes
    return plan


def long_tail(split: Split, exponent: float, least: int) -> list[int]:
    """Images per class, falling as a power law of the class's rank: at least `least` each, `split.images` in all."""
    weights = np.arange(1, split.classes + 1) ** -float(exponent)
    exact = (split.images - least * split.classes) * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: split.images - least * split.classes - counts.sum()]] += 1
    return (counts + least).tolist()


def render_classes(root: Path, jobs: list[ClassJob], seed: int, px: int) -> int:
    """Draw all images of some classes below `root`; returns how many. Runs in a worker process."""
    for name, class_id, count in jobs:
        domain = (DEMO | PRETRAIN)[name]
        key = (GENERATOR_VERSION, seed, name)
        own = rng_for(*key, "class", class_id)
        params = domain.family.draw_class(rng_for(*key, "genus", int(own.integers(domain.genera))), own)
        folder = root / "images" / name / f"{class_id:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = domain.family.render(params, rng_for(*key, "image", class_id, number), px)
            image.save(folder / f"{number:03d}.png", compress_level=1)
    return sum(count for _, _, count in jobs)


def _render(root: Path, jobs: list[ClassJob], *, seed: int, px: int, workers: int) -> Iterator[int]:
    """Draw all classes, yielding numbers of images as they are done."""
    chunks = [jobs[i : i + _CHUNK] for i in range(0, len(jobs), _CHUNK)]
    if workers > 1:
        # Spawned, because the calling process may have threads (torch's) that a fork would copy in the middle of their work.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            pending = {pool.submit(render_classes, root, chunk, seed, px): i for i, chunk in enumerate(chunks)}
            left = set(range(len(chunks)))
            try:
                for future in as_completed(pending):
                    count = future.result()
                    left.discard(pending[future])
                    yield count
            except BrokenProcessPool:
                # The main module cannot be imported again (a script without a __main__ guard) or a worker was killed: go on here.
                chunks = [chunks[i] for i in sorted(left)]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            else:
                return
    for chunk in chunks:
        yield render_classes(root, chunk, seed, px)


def _write_info(folder: Path, name: str, splits: dict[str, list[tuple[int, int]]], has_index: bool) -> None:
    folder.mkdir(parents=True)
    for split, classes in splits.items():
        entries = [[{"path": f"{name}/{label:04d}/{i:03d}.png", "class_id": label} for i in range(count)] for label, count in classes]
        files = {split: entries}
        if split == "test" and has_index:
            files = {"test": [e[: len(e) // 3] for e in entries], "index": [e[len(e) // 3 :] for e in entries]}
        for file, groups in files.items():
            (folder / f"{file}.json").write_text(json.dumps([entry for group in groups for entry in group]))


def _workers() -> int:
    """Cores this process may use; 1 where a spawned process could not import the main module, as when a script comes on stdin."""
    main = getattr(sys.modules["__main__"], "__file__", None)
    if main is not None and not Path(main).exists():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Write a generated benchmark in UnED's layout.

That is `images/<domain>/<class>/<image>.png` and `info_files/<domain>/<split>.json`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from udonx.common.files import DamagedFileError, atomic_folder
from udonx.common.json_files import read_json, write_json
from udonx.data.demo.canvas import rng_for
from udonx.data.demo.drawing import GENERATOR_VERSION, draw
from udonx.data.demo.families import DEMO, PRETRAIN, Domain, Split

DEMO_DOMAINS: tuple[str, ...] = tuple(DEMO)
PRETRAIN_DOMAINS: tuple[str, ...] = tuple(PRETRAIN)

Size: TypeAlias = Literal["full", "smoke"]

_PX = {"full": 48, "smoke": 32}
_SIZES = "sizes.json"  # what was written, in bytes, by which damage to it is noticed


def write_benchmark(
    root: Path,
    *,
    seed: int = 0,
    size: Size = "full",
    pretrain: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the benchmark whole or not at all.

    Args:
        root: the folder to make; it must not exist, or be empty.
        seed: of every class and picture.
        size: "smoke" for a few classes of 32 px, for tests.
        pretrain: the other eight families, on which the demo's small backbone is pre-trained.
        progress: `progress(done, total)` is called with numbers of images.

    Raises:
        FileExistsError: root holds something.
        OSError: it cannot be written; then nothing is left behind.
    """
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(
            f"{root} already exists and is not an empty folder; remove it or name another one"
        )
    plan = plan_benchmark(seed=seed, size=size, pretrain=pretrain)
    jobs = [
        (name, class_id, count)
        for name, splits in plan.items()
        for split in splits.values()
        for class_id, count in split
    ]
    total, done = sum(count for _, _, count in jobs), 0
    with atomic_folder(root) as folder:
        for name, splits in plan.items():
            (folder / "images" / name).mkdir(parents=True)
            _write_info(
                folder / "info_files" / name,
                name,
                splits,
                (PRETRAIN if pretrain else DEMO)[name].has_index,
            )
        workers = 1 if size == "smoke" else _cores()
        with closing(draw(folder, jobs, seed=seed, px=_PX[size], workers=workers)) as drawn:
            for count in drawn:
                done += count
                if progress is not None:
                    progress(done, total)
        write_json(folder / _SIZES, _sizes(folder))


def is_whole(root: Path) -> bool:
    """Whether a folder holds what `write_benchmark` wrote.

    Names and sizes of its files decide; none but one is read.
    """
    try:
        return _sizes(root) == read_json(root / _SIZES, dict[str, int])
    except (DamagedFileError, OSError):
        return False


def plan_benchmark(
    *, seed: int, size: Size, pretrain: bool
) -> dict[str, dict[str, list[tuple[int, int]]]]:
    """What `write_benchmark` writes: domain -> split -> [(class id, number of images)]."""
    return {
        name: plan_domain(name, domain, seed=seed, size=size)
        for name, domain in (PRETRAIN if pretrain else DEMO).items()
    }


def plan_domain(
    name: str, domain: Domain, *, seed: int, size: Size
) -> dict[str, list[tuple[int, int]]]:
    """Which classes a domain has: split -> [(class id, number of images)].

    Ids run on from train to val to test.
    """
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
    """Images per class, falling as a power law of the class's rank.

    Each class has at least `least`, all of them `split.images`.
    """
    weights = np.arange(1, split.classes + 1) ** -float(exponent)
    exact = (split.images - least * split.classes) * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    counts[
        np.argsort(counts - exact, kind="stable")[
            : split.images - least * split.classes - counts.sum()
        ]
    ] += 1
    return (counts + least).tolist()


def _write_info(
    folder: Path, name: str, splits: dict[str, list[tuple[int, int]]], has_index: bool
) -> None:
    folder.mkdir(parents=True)
    for split, classes in splits.items():
        entries = [
            [{"path": f"{name}/{label:04d}/{i:03d}.png", "class_id": label} for i in range(count)]
            for label, count in classes
        ]
        files = {split: entries}
        if split == "test" and has_index:
            files = {
                "test": [e[: len(e) // 3] for e in entries],
                "index": [e[len(e) // 3 :] for e in entries],
            }
        for file, groups in files.items():
            (folder / f"{file}.json").write_text(
                json.dumps([entry for group in groups for entry in group])
            )


def _sizes(root: Path) -> dict[str, int]:
    """Bytes of the files in each folder below root, root's own left out."""
    return {
        os.path.relpath(folder, root): sum(
            os.stat(os.path.join(folder, name)).st_size for name in names
        )
        for folder, _, names in os.walk(root)
        if names and not os.path.samefile(folder, root)
    }


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

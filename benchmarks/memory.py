"""Peak memory of training and embedding, on JPEGs of 0.1, 3 and 12 megapixels: it should hardly
depend on their size.

Each figure is the largest resident size (`ru_maxrss`) of a fresh process that trains a few steps of
a small network, or embeds images with it, through the engine's own loop, loader and store. The
start-up itself (imports, model) is printed too.

    python benchmarks/memory.py                                     # about 4 minutes on 2 cores
    python benchmarks/memory.py --megapixels 0.1 3 --images 32      # to see that it runs
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

DOMAIN, CLASSES = "photos", 4
STEPS, BATCH, FILES = 4, 32, 8


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.1, 3, 12])
    parser.add_argument(
        "--images", type=int, default=320, help="in each of train and test (default: 320)"
    )
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument(
        "--mode", choices=["resize_crop", "random_resized_crop"], default="resize_crop"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=min(os.cpu_count() or 1, 8),
        help="loading threads (default: as a run)",
    )
    parser.add_argument("--measure", choices=["nothing", "train", "embed"], help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_photos(root: Path, megapixels: float, images: int) -> None:
    """A train and a test split of smooth JPEGs, 4:3; a few files under many names, each of which is
    decoded anew.
    """
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = height * 4 // 3
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        entries = []
        for number in range(images):
            path = f"{DOMAIN}/{split}{number}.jpg"
            file = root / "images" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if number < FILES:
                coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
                coarse.resize((width, height), Image.Resampling.BICUBIC).save(file, quality=90)
            else:
                os.link(file.with_name(f"{split}{number % FILES}.jpg"), file)
            entries.append({"path": path, "class_id": number % CLASSES})
        file = root / "info_files" / DOMAIN / f"{split}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(entries))


def measure(options: argparse.Namespace) -> None:
    """In a fresh process: do the work, print the largest resident size in MB."""
    import torch

    from registry.contracts import (
        BackboneSpec,
        ComponentSpec,
        HeadSpec,
        LossSpec,
        Optimiser,
        Schedule,
        StageSpec,
        Training,
        Transform,
    )
    from udonx.data.benchmark import Benchmark
    from udonx.data.images import ImageStore
    from udonx.engine.build import build_model
    from udonx.engine.job import Job
    from udonx.engine.loop import Loop
    from udonx.evaluation.protocol import Embedder, embed_paths
    from udonx.store.stage import StageFolder

    benchmark = Benchmark.open(options.root)
    network = {
        "model": "resnet10t",
        "batch_norm": "fixed",
        "kwargs": {"channels": [16, 16, 32, 64], "stem_width": 8},
    }
    spec = StageSpec(
        domains=(DOMAIN,),
        backbone=BackboneSpec(
            use="timm", options=network, weights="random", mean=(0.5,) * 3, std=(0.5,) * 3
        ),
        transform=Transform(mode=options.mode, resize=options.crop * 8 // 7, crop=options.crop),
        student_head=HeadSpec(use="linear", dim=64),
        training=Training(
            steps=STEPS + 1,
            batch=BATCH,
            losses=(LossSpec(name="ce", use="ce", on="student"),),
            sampler=ComponentSpec(use="round_robin"),
            optimiser=Optimiser(frozen=0),
            schedule=Schedule(),
            validate_every=STEPS + 1,
        ),
        seed=0,
    )
    device, store = torch.device("cpu"), ImageStore(benchmark.root)
    model = build_model(spec, {DOMAIN: CLASSES}, None)
    with tempfile.TemporaryDirectory() as folder:
        if options.measure == "train":
            about = {
                "id": "memory",
                "title": "memory",
                "folder": StageFolder(Path(folder)),
                "device": device,
            }
            loop = Loop(
                Job(spec=spec, benchmark=benchmark, store=store, workers=options.workers, **about),
                model,
            )
            with closing(loop.steps()) as steps:
                next(step for step in steps if step == STEPS)
        elif options.measure == "embed":
            paths = benchmark.split(DOMAIN, "test").paths
            embed_paths(
                Embedder(model.eval(), "student"), store, paths, DOMAIN, device, options.workers
            )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Print a table: MB by megapixels and work."""
    options = arguments()
    if options.measure:
        measure(options)
        return
    print(
        f"{options.images} images, crop {options.crop}, {options.mode}, {options.workers} loading"
        f" threads, batch {BATCH}, {STEPS} steps"
    )
    print("megapixels   start-up      train      embed   (MB)")
    passed = [
        "--crop",
        str(options.crop),
        "--mode",
        options.mode,
        "--workers",
        str(options.workers),
    ]
    for megapixels in options.megapixels:
        with tempfile.TemporaryDirectory() as folder:
            write_photos(Path(folder), megapixels, options.images)
            peaks = []
            for work in ("nothing", "train", "embed"):
                command = [sys.executable, __file__, "--root", folder, "--measure", work, *passed]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                peaks.append(float(done.stdout.split()[-1]))
            print(
                f"{megapixels:10g} {peaks[0]:10.0f} {peaks[1]:10.0f} {peaks[2]:10.0f}", flush=True
            )


if __name__ == "__main__":
    main()

"""What `udonx embed` costs beside a bare timm loop over the same files.

Two contenders embed the same JPEG files in one process, in turn and in an order that is drawn anew
for every round:

* udonx: images decoded ahead in threads, the model, and each batch kept on disk, as the command
  does it;
* bare: torch's DataLoader with as many processes, Pillow, the same preprocessing and batch size,
  timm's model, vectors kept in memory.

Both use the same weights and memory layout; their vectors are compared first. Printed are images
per second, and the ratio of the times within a round: median and quartiles.

    python benchmarks/embed.py                            # a few minutes on 2 cores
    python benchmarks/embed.py --rounds 1 --images 128    # to see that it runs
    python benchmarks/embed.py --model vit_base_patch16_224 --device cuda --images 8192 --workers 16
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Dataset

from udonx.engine.embed import BATCH, embed_batches
from udonx.engine.embedding import preprocess
from udonx.engine.loaded_model import LoadedModel
from udonx.search.listing import list_images
from udonx.search.partial import PartialVectors

STATISTICS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18", help="timm's name; its weights are random")
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def write_photos(folder: Path, count: int) -> None:
    """Smooth random JPEGs of 500 x 375 pixels, as photographs in data sets are."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number:06}.jpg")


def write_model(folder: Path, options: argparse.Namespace) -> None:
    """A model with random weights in timm's layout."""
    torch.manual_seed(0)
    model = timm.create_model(options.model, num_classes=0)
    size = [3, options.crop, options.crop]
    config = {
        "architecture": options.model,
        "num_classes": 0,
        "num_features": model.num_features,
        "pretrained_cfg": {"input_size": size, "num_classes": 0, **STATISTICS},
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "model.safetensors")


class Photos(Dataset):
    """Files as a bare program reads them."""

    def __init__(self, files: list[str], crop: int) -> None:
        self.files, self.crop = files, crop

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.files[row]) as image:
            return preprocess(image, self.crop)


def bare(folder: Path, files: list[str], options: argparse.Namespace) -> Callable[[], np.ndarray]:
    """The loop that a person would write."""
    device = torch.device(options.device)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    model = model.to(device, memory_format=torch.channels_last)
    mean, std = (
        torch.tensor(STATISTICS[name], device=device).reshape(1, 3, 1, 1) for name in STATISTICS
    )
    loader = DataLoader(
        Photos(files, options.crop),
        batch_size=BATCH,
        num_workers=options.workers,
        persistent_workers=True,
        pin_memory=device.type == "cuda",
    )

    @torch.no_grad()
    def embed() -> np.ndarray:
        parts = []
        for images in loader:
            pixels = (images.to(device) / 255 - mean) / std
            features = model(pixels.contiguous(memory_format=torch.channels_last))
            parts.append(normalize(features).cpu())
        return torch.cat(parts).numpy()

    return embed


def ours(
    folder: Path, photos: Path, scratch: Path, options: argparse.Namespace
) -> Callable[[], np.ndarray]:
    """What `udonx embed` does with images that it has not seen."""
    loaded, listed = LoadedModel(folder, options.device), list_images([photos])
    (embedder, _), model = loaded.embedder(), loaded.identity()
    files = [str(photos / image.path) for image in listed.images]

    def embed() -> np.ndarray:
        partial = PartialVectors(scratch, model)
        partial.folder.mkdir()
        batches = embed_batches(embedder, files, loaded.device, workers=options.workers)
        with closing(batches):
            for batch in batches:
                images = [listed.images[row] for row in batch.rows]
                partial.append(images, batch.vectors_BD)
        vectors_ND = np.array(partial.vectors())
        partial.remove()
        return vectors_ND

    return embed


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_photos(root / "photos", options.images)
        write_model(root / "model", options)
        files = [str(file) for file in sorted((root / "photos").iterdir())]
        contenders = {
            "udonx": ours(root / "model", root / "photos", root / "scratch", options),
            "bare": bare(root / "model", files, options),
        }
        first, second = (embed() for embed in contenders.values())  # warm-up, too
        print(f"the vectors of both differ by at most {np.abs(first - second).max():.1e}")
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        order = list(contenders)
        for _ in range(options.rounds):
            random.shuffle(order)
            for name in order:
                began = time.perf_counter()
                contenders[name]()
                seconds[name].append(time.perf_counter() - began)
    print(
        f"{options.model}, {options.crop} px, batch {BATCH}, {options.device},"
        f" {torch.get_num_threads()} torch threads, {options.workers} workers,"
        f" {options.rounds} rounds of {options.images} images"
    )
    print(f"{'images per second':<28}{'median':>9}{'quartiles':>18}")
    for name, values in seconds.items():
        print(line(name, options.images / np.array(values)))
    print(f"{'ratio within a round':<28}{'median':>9}{'quartiles':>18}")
    print(line("udonx / bare (time)", np.array(seconds["udonx"]) / np.array(seconds["bare"])))


def line(name: str, values: np.ndarray) -> str:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{name:<28}{middle:>9.3f}{low:>9.3f}{high:>9.3f}"


if __name__ == "__main__":
    main()

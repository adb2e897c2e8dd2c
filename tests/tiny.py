"""Small things that tests build: a benchmark in UnED's layout, an experiment file, a fresh Python
process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

SETTING = """
[setting]
student_head = { use = "linear", dim = 4 }
teacher_head = { use = "linear", dim = 4 }

[setting.data]
source = "uned"

[setting.backbones.main]
model = "resnet10t"
kwargs = { channels = [8, 8, 16, 32], stem_width = 8 }
random = true

[setting.transform]
resize = 36
crop = 32

[setting.budget]
steps = 2
batch = 4
"""
"""A setting held by a file: a small random network on any folder in UnED's layout."""


def python(code: str, **environment: str) -> str:
    """What a fresh Python process prints; fails the test where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write_split(
    root: Path, domain: str, split: str, class_ids: list, *, images: bool = True
) -> list[str]:
    """Write one split file with an entry per class id, and its images; returns their paths."""
    paths = [f"{domain}/{split}_{number}.png" for number in range(len(class_ids))]
    file = root / "info_files" / domain / f"{split}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps(
            [
                {"path": path, "class_id": label}
                for path, label in zip(paths, class_ids, strict=True)
            ]
        )
    )
    for number, path in enumerate(paths if images else []):
        image = root / "images" / path
        image.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(image)
    return paths


def write_domain(root: Path, domain: str, *, first_class: int = 0) -> None:
    """A healthy domain: two classes, six training, four validation and four test images."""
    low, high = first_class, first_class + 1
    write_split(root, domain, "train", [low, low, low, high, high, high])
    write_split(root, domain, "val", [low, low, high, high])
    write_split(root, domain, "test", [low, low, high, high])


def write_experiment(folder: Path, text: str, name: str = "table.toml") -> Path:
    """An experiment file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def write_classes(root: Path, domain: str, images: dict[str, int], suffix: str = ".png") -> None:
    """Class folders: `root/<domain>/<class>/` with so many images each."""
    for name, count in images.items():
        (root / domain / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.random.default_rng([number, len(name)]).integers(
                0, 256, (40, 40, 3), dtype=np.uint8
            )
            Image.fromarray(pixels).save(root / domain / name / f"{number}{suffix}")


def list_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make folders list their entries in the opposite order."""
    scandir = os.scandir

    class Backwards(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", lambda path: Backwards(reversed(list(scandir(path)))))

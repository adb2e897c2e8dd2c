"""A benchmark as the engine sees it, given or generated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from udonx.data import benchmark as module
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two domains: `cars` with class ids 7 and 40 and queries of their own, `birds` with train
    alone.
    """
    entries = {
        "cars": {
            "train": [("a", 40), ("b", 7), ("c", 40)],
            "val": [("d", 1), ("e", 1)],
            "test": [("f", [1, 2])],
            "index": [("g", 1)],
        },
        "birds": {"train": [("h", 0), ("i", 1)]},
    }
    for domain, splits in entries.items():
        for name, items in splits.items():
            file = tmp_path / "info_files" / domain / f"{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(
                json.dumps(
                    [{"path": f"{domain}/{path}.png", "class_id": label} for path, label in items]
                )
            )
            for path, _ in items:
                image = tmp_path / "images" / domain / f"{path}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (4, 4)).save(image)
    return tmp_path


def test_facts_and_splits(root: Path) -> None:
    """Domains come in alphabetical or in the given order, with their counts, labels 0..C-1 and the
    splits of each stage.
    """
    found = Benchmark.open(root)
    assert found.domains == ("birds", "cars") and Benchmark.open(root, ["cars"]).domains == (
        "cars",
    )
    assert [(one.name, one.train_images, one.train_classes) for one in found.facts] == [
        ("birds", 2, 2),
        ("cars", 3, 2),
    ]
    assert found.labels("cars") == {7: 0, 40: 1}
    assert (found.query_index("cars", "test"), found.query_index("cars", "val")) == (
        ("test", "index"),
        ("val", "val"),
    )
    assert (
        found.query_index("birds", "test") is None and found.evaluated_splits("birds", "test") == ()
    )
    assert (found.evaluated_splits("cars", "test"), found.evaluated_splits("cars", "val")) == (
        ("test", "index"),
        ("val",),
    )
    with pytest.raises(DataError, match="no domain 'bird'; did you mean birds"):
        Benchmark.open(root, ["bird"])


def test_split_is_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A split file is read once, however often it is asked for."""
    found, reads, read = Benchmark.open(root), [], module.read_split
    monkeypatch.setattr(module, "read_split", lambda *args: reads.append(args) or read(*args))
    assert found.split("cars", "train") is found.split("cars", "train")
    found.labels("cars")
    assert len(reads) == 1


def test_manifest(root: Path) -> None:
    """The manifest hash follows the content of those splits that are there, and the fingerprint,
    and nothing else.
    """
    first = Benchmark.open(root).manifest("cars", ("train", "val"))
    assert first == Benchmark.open(root, ["cars"]).manifest("cars", ("train", "val", "small_index"))
    assert first != Benchmark.open(root).manifest("cars", ("train",))
    assert first != Benchmark.open(root, fingerprint="demo-v2").manifest("cars", ("train", "val"))
    file = root / "info_files/cars/val.json"
    file.write_text(file.read_text().replace('"class_id": 1', '"class_id": 2', 1))
    assert first != Benchmark.open(root).manifest("cars", ("train", "val"))


def test_without_test_opens_nothing_that_only_a_test_reads(root):
    """What validation reads stays, with the manifests that make a stage's id; test splits are not
    there, and whoever opens one all the same is refused.
    """
    whole = Benchmark.open(root)
    bare = whole.without_test()
    assert bare.query_index("cars", "val") == whole.query_index("cars", "val")
    assert bare.query_index("cars", "test") is None and bare.evaluated_splits("cars", "test") == ()
    assert bare.manifest("cars", ("train", "val")) == whole.manifest("cars", ("train", "val"))
    for name in ("test", "index"):
        with pytest.raises(DataError, match=f"cars: '{name}' must not be opened here"):
            bare.split("cars", name)

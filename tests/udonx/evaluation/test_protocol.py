"""The protocol on images: what is embedded, what is searched, and against which index."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from udonx.data.benchmark import Benchmark
from udonx.data.images import ImageStore
from udonx.data.transforms import test_batch
from udonx.evaluation import protocol
from udonx.evaluation.protocol import Embedder, embed_paths, evaluate, image_count

DOMAINS = ("glyphs", "logos", "plates")
CPU = torch.device("cpu")


class Pixels:
    """Embeds an image by its own normalised pixels, and counts what it is asked."""

    crop = 16

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, int]] = []

    def embed(self, images_B3HW: Tensor, branch: str, domain: str | None = None) -> Tensor:
        self.asked.append((branch, domain, len(images_B3HW)))
        flat = images_B3HW.flatten(1) - 128
        return flat / flat.norm(dim=1, keepdim=True)


def scores(benchmark: Benchmark, stage: str, merged: bool) -> dict[str, float]:
    """R@1 per domain by a slow loop over queries, written apart from the code under test."""
    store, rows = ImageStore(benchmark.root), {"query": [], "index": []}
    for domain in DOMAINS:
        for side, name in zip(("query", "index"), benchmark.query_index(domain, stage), strict=True):
            split = benchmark.split(domain, name)
            for path, label in zip(split.paths, split.class_ids.tolist(), strict=True):
                flat = test_batch([store.load(path)], 16).flatten().numpy().astype(np.float64) - 128
                rows[side].append((domain, path, label, flat / np.linalg.norm(flat)))
    found = {}
    for wanted in DOMAINS:
        hits = []
        for domain, path, label, vector in rows["query"]:
            if domain == wanted:
                index = [one for one in rows["index"] if (merged or one[0] == domain) and (one[0], one[1]) != (domain, path)]
                nearest = max(index, key=lambda one: float(one[3] @ vector))
                hits.append(nearest[0] == domain and nearest[2] == label)
        found[wanted] = float(np.mean(hits))
    return found


@pytest.mark.parametrize("stage", ["val", "test"])
def test_against_a_slow_loop(small_benchmark: Benchmark, stage: str) -> None:
    """Merged and own-domain R@1 are those of a plain loop that leaves out the query itself; every image is embedded once."""
    model, ticks = Pixels(), []
    embedders = {domain: Embedder(model, "student") for domain in DOMAINS}
    result = evaluate(
        embedders, small_benchmark, ImageStore(small_benchmark.root), stage, merged=True, device=CPU, workers=2, tick=ticks.append
    )
    for metrics, merged in ((result.merged, True), (result.own, False)):
        expected = scores(small_benchmark, stage, merged)
        assert {domain: metrics.per_domain[domain].r1 for domain in DOMAINS} == pytest.approx(expected)
        assert metrics.r1 == pytest.approx(np.mean(list(expected.values())))
    assert result.main is result.merged
    images = image_count(small_benchmark, DOMAINS, stage)
    assert sum(ticks) == sum(count for *_, count in model.asked) == images
    paths = {
        path
        for domain in DOMAINS
        for name in small_benchmark.evaluated_splits(domain, stage)
        for path in small_benchmark.split(domain, name).paths
    }
    assert len(paths) == images


def test_each_domain_its_own_embedder(small_benchmark: Benchmark) -> None:
    """Where domains have different embedders, each embeds its own domain, and there is no merged index."""
    models = {domain: Pixels() for domain in DOMAINS}
    embedders = {domain: Embedder(model, "teacher") for domain, model in models.items()}
    result = evaluate(embedders, small_benchmark, ImageStore(small_benchmark.root), "test", merged=False, device=CPU, workers=1)
    assert result.merged is None and result.main is result.own
    assert all({(branch, asked) for branch, asked, _ in model.asked} == {("teacher", domain)} for domain, model in models.items())


def test_several_labels_and_missing_splits(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A query with several labels is answered by any of them; a domain without queries is left out; without any there is no result."""
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    (root / "info_files/glyphs/test.json").unlink()
    file = root / "info_files/logos/test.json"
    entries = json.loads(file.read_text())
    every = sorted({one["class_id"] for one in json.loads((root / "info_files/logos/index.json").read_text())})
    file.write_text(json.dumps([{**entry, "class_id": every} for entry in entries]))
    benchmark, model = Benchmark.open(root, list(DOMAINS)), Pixels()
    embedders = {domain: Embedder(model, "student") for domain in DOMAINS}
    result = evaluate(embedders, benchmark, ImageStore(root), "test", merged=True, device=CPU, workers=2)
    assert set(result.own.per_domain) == {"logos", "plates"} and result.own.per_domain["logos"].r1 == 1
    none = evaluate({"glyphs": Embedder(model, "student")}, benchmark, ImageStore(root), "test", merged=True, device=CPU, workers=2)
    assert none is None and image_count(benchmark, ["glyphs"], "test") == 0


@pytest.mark.parametrize("workers", [1, 4])
def test_order_and_batches(small_benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """Embeddings come in the order of the paths, whatever the batch and the number of threads, and each file is loaded once."""
    monkeypatch.setattr(protocol, "EMBED_BATCH", 4)
    loads: Counter[str] = Counter()

    class Counting(ImageStore):
        def load(self, path: str) -> np.ndarray:
            loads[path] += 1
            return super().load(path)

    store, paths = Counting(small_benchmark.root), small_benchmark.split("plates", "train").paths
    got = embed_paths(Embedder(Pixels(), "student"), store, paths, "plates", CPU, workers)
    assert loads == Counter(paths)
    flat = test_batch([store.load(path) for path in paths], 16).flatten(1) - 128
    np.testing.assert_allclose(got, flat / flat.norm(dim=1, keepdim=True), atol=1e-6)


def test_every_image_comes_once_and_in_order(small_benchmark):
    """However many images a split has, beyond what is loaded ahead, all of them come, in order."""
    store = ImageStore(small_benchmark.root)
    paths = (small_benchmark.split("glyphs", "train").paths * 100)[:1300]
    batches = list(protocol.test_images(store, paths, 32, 2))
    assert [len(batch) for batch in batches] == [256] * 5 + [20]
    expected = test_batch([store.load(path) for path in paths[1280:]], 32)
    assert torch.equal(batches[-1], expected)

"""Batches: an order without gaps, content that depends on (seed, domain, position) alone, and a sampler that is followed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch

from registry.contracts import Batch, Transform
from registry.samplers.dynamic import Dynamic
from registry.samplers.round_robin import RoundRobin
from udonx.data.benchmark import Benchmark
from udonx.data.images import ImageStore
from udonx.data.loader import BatchLoader, DomainOrder
from udonx.data.seeds import generator
from udonx.data.transforms import sample_crop, train_batch

DOMAINS = ("logos", "glyphs", "plates")
TRANSFORM = Transform(resize=36, crop=32)


def loader(benchmark: Benchmark, *, domains: tuple[str, ...] = DOMAINS, batch: int = 8, seed: int = 0, workers: int = 2) -> BatchLoader:
    return BatchLoader(benchmark, ImageStore(benchmark.root), domains, TRANSFORM, batch, seed, workers, False)


def round_robin(steps: int) -> RoundRobin:
    return RoundRobin(DOMAINS, {}, steps, 0)


def equal(ours: Batch, theirs: Batch) -> bool:
    labels = torch.equal(ours.labels, theirs.labels) and torch.equal(ours.images, theirs.images)
    return labels and (ours.domain, ours.ids) == (theirs.domain, theirs.ids)


@pytest.mark.parametrize("size", [1, 3, 20, 64])
def test_order_without_gaps(size: int) -> None:
    """A domain's order is its epochs' permutations end to end, however it is cut, also where a batch is larger than the domain."""
    order = DomainOrder(0, "cars", size)
    whole = order.items(0, 5 * size)
    expected = [generator(0, f"order/cars/{epoch}").permutation(size) for epoch in range(5)]
    assert whole == np.concatenate(expected).tolist()
    cuts = sorted({0, 5 * size, *np.random.default_rng(0).integers(0, 5 * size, 4).tolist()})
    fresh = DomainOrder(0, "cars", size)
    assert [row for start, stop in pairwise(cuts) for row in fresh.items(start, stop)] == whole
    if size > 3:
        assert len({tuple(one.tolist()) for one in expected}) == 5, "epochs differ"


def test_order_is_safe_in_threads() -> None:
    """Threads that stand in different epochs of one domain get the right rows."""
    order, size = DomainOrder(0, "cars", 3), 3
    expected = DomainOrder(0, "cars", size).items(0, 4000)
    starts = np.random.default_rng(0).integers(0, 3900, 2000).tolist()
    with ThreadPoolExecutor(8) as pool:
        for start, rows in zip(starts, pool.map(lambda start: order.items(start, start + 100), starts), strict=True):
            assert rows == expected[start : start + 100]


def test_content(small_benchmark: Benchmark) -> None:
    """A batch holds one domain's images at its positions, each cropped by its own stream, with labels 0..C-1 and paths."""
    split, mapping = small_benchmark.split("logos", "train"), small_benchmark.labels("logos")
    store = ImageStore(small_benchmark.root)
    batch = loader(small_benchmark).load("logos", 20)  # 25 images: three of them are of the next epoch
    rows = DomainOrder(0, "logos", len(split)).items(20, 28)
    crops = [sample_crop(generator(0, f"image/logos/{position}"), TRANSFORM) for position in range(20, 28)]
    assert batch.ids == tuple(split.paths[row] for row in rows) and batch.domain == "logos"
    assert batch.labels.tolist() == [mapping[int(split.class_ids[row])] for row in rows]
    assert torch.equal(batch.images, train_batch([store.load(path) for path in batch.ids], crops))
    assert batch.images.shape == (8, 3, 32, 32) and batch.images.dtype == torch.float32 and batch.labels.dtype == torch.int64
    assert batch.images.max() > 1 and set(mapping.values()) == set(range(len(mapping)))


def test_depends_on_seed_domain_position_alone(small_benchmark: Benchmark) -> None:
    """A batch is the same beside other domains, in another order of domains and after other batches; another seed gives another."""
    alone, beside = loader(small_benchmark, domains=("logos",)), loader(small_benchmark)
    beside.load("plates", 0)
    assert equal(alone.load("logos", 8), beside.load("logos", 8))
    assert not equal(alone.load("logos", 8), loader(small_benchmark, seed=1).load("logos", 8))
    assert not equal(alone.load("logos", 8), alone.load("logos", 8 + 25))  # the same place, an epoch later


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_workers_do_not_matter(small_benchmark: Benchmark, workers: int) -> None:
    """Any number of threads, and so any depth of loading ahead, yields the same batches in the same order, resumed or not."""
    expected = list(loader(small_benchmark, workers=2).batches(round_robin(12), 0, 12, {}))
    assert [step for step, _ in expected] == list(range(12))
    whole = loader(small_benchmark, workers=workers).batches(round_robin(12), 0, 12, {})
    taken = {"logos": 2, "glyphs": 2, "plates": 1}
    rest = loader(small_benchmark, workers=workers).batches(round_robin(12), 5, 12, taken)
    for ours, part in ((whole, expected), (rest, expected[5:])):
        for (step, batch), (expected_step, expected_batch) in zip(ours, part, strict=True):
            assert step == expected_step and equal(batch, expected_batch)
    assert taken == {"logos": 2, "glyphs": 2, "plates": 1}


def test_each_domain_goes_through_all_images(small_benchmark: Benchmark) -> None:
    """Over a run every domain's images come equally often but for one, whatever the batch's size."""
    counts: dict[str, dict[str, int]] = {domain: {} for domain in DOMAINS}
    for _, batch in loader(small_benchmark, batch=7).batches(round_robin(36), 0, 36, {}):
        for path in batch.ids:
            counts[batch.domain][path] = counts[batch.domain].get(path, 0) + 1
    for domain in DOMAINS:
        assert counts[domain].keys() == set(small_benchmark.split(domain, "train").paths)
        assert max(counts[domain].values()) - min(counts[domain].values()) <= 1


def test_updates_are_followed(small_benchmark: Benchmark) -> None:
    """A sampler that is updated between two steps decides from that step on, and nothing is loaded past what it knows."""
    loaded: list[str] = []

    class Watched(BatchLoader):
        def load(self, domain: str, position: int) -> Batch:
            loaded.append(f"{domain}/{position}")
            return super().load(domain, position)

    def losses(step: int) -> Mapping[str, tuple[float, int]]:
        return {DOMAINS[step // 4 % 3]: (80.0, 8), DOMAINS[0]: (0.8, 8)}

    def expected() -> list[str]:
        sampler, domains = Dynamic(DOMAINS, {}, 24, 0, interval=4), []
        for step in range(24):
            if step and step % 4 == 0:
                sampler.update(step, losses(step))
            domains.append(sampler.domain_at(step))
        return domains

    sampler = Dynamic(DOMAINS, {}, 24, 0, interval=4)
    watched = Watched(small_benchmark, ImageStore(small_benchmark.root), DOMAINS, TRANSFORM, 8, 0, 3, False)
    seen = []
    for step, batch in watched.batches(sampler, 0, 24, {}):
        assert len(loaded) <= sampler.known_until()
        seen.append((batch.domain, batch.ids))
        if (step + 1) % 4 == 0 and step + 1 < 24:
            sampler.update(step + 1, losses(step + 1))
    assert [domain for domain, _ in seen] == expected()
    taken = dict.fromkeys(DOMAINS, 0)
    for domain, ids in seen:
        assert ids == watched.load(domain, 8 * taken[domain]).ids
        taken[domain] += 1


def test_closing_stops_the_threads(small_benchmark: Benchmark) -> None:
    """A loop that is left early leaves no loading thread behind."""
    batches = loader(small_benchmark, workers=3).batches(round_robin(100), 0, 100, {})
    next(batches)
    assert any(thread.name.startswith("udonx-load") for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name.startswith("udonx-load") for thread in threading.enumerate())

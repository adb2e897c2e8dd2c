"""Batches: an order without gaps, content that depends on (seed, domain, position) alone, and a
sampler that is followed.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from PIL import Image

from registry.contracts import Batch, Transform
from registry.samplers.dynamic import Dynamic
from registry.samplers.round_robin import RoundRobin
from udonx.common.seeds import generator
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore
from udonx.data.loader import BatchLoader, ClassOrder, DomainOrder
from udonx.data.transforms import sample_crop, train_image

DOMAINS = ("logos", "glyphs", "plates")
TRANSFORM = Transform(resize=36, crop=32)


def loader(
    benchmark: Benchmark,
    *,
    domains: tuple[str, ...] = DOMAINS,
    batch: int = 8,
    seed: int = 0,
    workers: int = 2,
    per_class: int | None = None,
) -> BatchLoader:
    return BatchLoader(
        benchmark,
        ImageStore(benchmark.root),
        domains,
        TRANSFORM,
        batch,
        seed,
        workers,
        per_class=per_class,
    )


def round_robin(steps: int) -> RoundRobin:
    return RoundRobin(DOMAINS, {}, steps, 0)


def equal(ours: Batch, theirs: Batch) -> bool:
    labels = torch.equal(ours.labels, theirs.labels) and torch.equal(ours.images, theirs.images)
    return labels and (ours.domain, ours.ids) == (theirs.domain, theirs.ids)


@pytest.mark.parametrize("size", [1, 3, 20, 64])
def test_order_without_gaps(size: int) -> None:
    """A domain's order is its epochs' permutations end to end, however it is cut, also where a
    batch is larger than the domain.
    """
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
        for start, rows in zip(
            starts, pool.map(lambda start: order.items(start, start + 100), starts), strict=True
        ):
            assert rows == expected[start : start + 100]


CLASSES = np.array([0, 1, 1, 2, 2, 2, 2, 2, 0, 3])
"""Of ten images: 2, 2, 5 and 1 of their class."""


def test_classes_take_turns() -> None:
    """Every class comes once before one comes again, with K images each; over many turns each image
    of a class comes as often as the others, and the orders differ from time to time.
    """
    rows = ClassOrder(0, "cars", CLASSES, per_class=2).items(0, 2 * 4 * 5)
    turns = [rows[start : start + 2] for start in range(0, len(rows), 2)]
    assert all(CLASSES[first] == CLASSES[second] for first, second in turns)
    rounds = [[int(CLASSES[turn[0]]) for turn in turns[k : k + 4]] for k in range(0, 20, 4)]
    assert all(sorted(classes) == [0, 1, 2, 3] for classes in rounds)
    assert len({tuple(classes) for classes in rounds}) > 1
    times = np.bincount(rows, minlength=len(CLASSES))
    assert times.tolist() == [5, 5, 5, 2, 2, 2, 2, 2, 5, 10]
    both = [sorted(turn) for turn in turns if CLASSES[turn[0]] == 0]
    assert both == [[0, 8]] * 5, "a class with as many images as a turn holds gives all of them"


def test_the_order_of_classes_follows_from_the_position() -> None:
    """Cut anywhere, the order is the same; another seed or domain has another."""
    whole = ClassOrder(0, "cars", CLASSES, per_class=3).items(0, 60)
    for start, stop in [(0, 1), (5, 7), (11, 12), (13, 60)]:
        fresh = ClassOrder(0, "cars", CLASSES, per_class=3)
        assert fresh.items(start, stop) == whole[start:stop]
    assert ClassOrder(1, "cars", CLASSES, per_class=3).items(0, 60) != whole
    assert ClassOrder(0, "logos", CLASSES, per_class=3).items(0, 60) != whole


def test_a_batch_of_classes(small_benchmark: Benchmark) -> None:
    """With `per_class` a batch holds so many images of each of its classes, with their labels."""
    batch = loader(small_benchmark, per_class=4).load("logos", 8)
    assert [batch.labels[k : k + 4].unique().numel() for k in (0, 4)] == [1, 1]
    split, mapping = small_benchmark.split("logos", "train"), small_benchmark.labels("logos")
    by_path = dict(zip(split.paths, split.class_ids, strict=True))
    assert batch.labels.tolist() == [mapping[int(by_path[path])] for path in batch.ids]


@pytest.mark.parametrize("mode", ["resize_crop", "random_resized_crop"])
def test_the_same_parts_at_another_size(small_benchmark: Benchmark, mode: str) -> None:
    """`sizes` changes no pixel of the batch, and has its parts of the images with more pixels."""
    transform = Transform(mode=mode, resize=36, crop=32)

    def batch_with(*sizes: int) -> Batch:
        store = ImageStore(small_benchmark.root)
        made = BatchLoader(small_benchmark, store, DOMAINS, transform, 8, 0, 2, sizes=sizes)
        return made.load("logos", 20)

    plain, more = batch_with(), batch_with(64, 16)
    assert equal(plain, more) and plain.sizes == {} and set(more.sizes) == {64, 16}
    assert more.sizes[64].shape == (8, 3, 64, 64)
    smaller = torch.nn.functional.interpolate(more.sizes[64], size=(32, 32), mode="area")
    assert (smaller - plain.images).abs().mean() < 12  # of 255: sampled otherwise, the same part
    others = smaller.roll(1, 0)
    assert (others - plain.images).abs().mean() > 24


def test_content(small_benchmark: Benchmark) -> None:
    """A batch holds one domain's images at its positions, each cropped by its own stream, with
    labels 0..C-1 and paths.
    """
    split, mapping = small_benchmark.split("logos", "train"), small_benchmark.labels("logos")
    store = ImageStore(small_benchmark.root)
    # 25 images: three of them are of the next epoch
    batch = loader(small_benchmark).load("logos", 20)
    rows = DomainOrder(0, "logos", len(split)).items(20, 28)
    crops = [
        sample_crop(generator(0, f"image/logos/{position}"), TRANSFORM)
        for position in range(20, 28)
    ]
    assert batch.ids == tuple(split.paths[row] for row in rows) and batch.domain == "logos"
    assert batch.labels.tolist() == [mapping[int(split.class_ids[row])] for row in rows]
    assert torch.equal(
        batch.images,
        torch.stack(
            [
                train_image(store.load(path), crop)
                for path, crop in zip(batch.ids, crops, strict=True)
            ]
        ),
    )
    assert (
        batch.images.shape == (8, 3, 32, 32)
        and batch.images.dtype == torch.float32
        and batch.labels.dtype == torch.int64
    )
    assert batch.images.max() > 1 and set(mapping.values()) == set(range(len(mapping)))


def test_depends_on_seed_domain_position_alone(small_benchmark: Benchmark) -> None:
    """A batch is the same beside other domains, in another order of domains and after other
    batches; another seed gives another.
    """
    alone, beside = loader(small_benchmark, domains=("logos",)), loader(small_benchmark)
    beside.load("plates", 0)
    assert equal(alone.load("logos", 8), beside.load("logos", 8))
    assert not equal(alone.load("logos", 8), loader(small_benchmark, seed=1).load("logos", 8))
    # the same place, an epoch later
    assert not equal(alone.load("logos", 8), alone.load("logos", 8 + 25))


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_workers_do_not_matter(small_benchmark: Benchmark, workers: int) -> None:
    """Any number of threads, and so any depth of loading ahead, yields the same batches in the same
    order, resumed or not.
    """
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
    """Over a run every domain's images come equally often but for one, whatever the
    batch's size.
    """
    counts: dict[str, dict[str, int]] = {domain: {} for domain in DOMAINS}
    for _, batch in loader(small_benchmark, batch=7).batches(round_robin(36), 0, 36, {}):
        for path in batch.ids:
            counts[batch.domain][path] = counts[batch.domain].get(path, 0) + 1
    for domain in DOMAINS:
        assert counts[domain].keys() == set(small_benchmark.split(domain, "train").paths)
        assert max(counts[domain].values()) - min(counts[domain].values()) <= 1


def test_updates_are_followed(small_benchmark: Benchmark) -> None:
    """A sampler that is updated between two steps decides from that step on, and nothing is loaded
    past what it knows.
    """
    loaded: list[str] = []

    class Watched(BatchLoader):
        def _load(self, domain: str, position: int) -> tuple[Batch, list[str]]:
            loaded.append(f"{domain}/{position}")
            return super()._load(domain, position)

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
    watched = Watched(
        small_benchmark, ImageStore(small_benchmark.root), DOMAINS, TRANSFORM, 8, 0, 3
    )
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


@pytest.fixture
def damaged(small_benchmark: Benchmark, tmp_path: Path) -> tuple[Benchmark, list[int]]:
    """A copy of the benchmark in which three training images of one domain are cut off, the last
    and two in a row; and their rows.
    """
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    benchmark = Benchmark.open(root, list(DOMAINS))
    paths = benchmark.split("logos", "train").paths
    rows = [4, 5, len(paths) - 1]
    for row in rows:
        file = root / "images" / paths[row]
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return benchmark, rows


@pytest.mark.parametrize("workers", [1, 4])
def test_the_next_image_takes_the_place_of_one_that_cannot_be_decoded(
    small_benchmark: Benchmark, damaged: tuple[Benchmark, list[int]], workers: int
) -> None:
    """Its place goes to the next image of the split that can be decoded, with its label; all other
    places are as ever, resumed too.
    """
    benchmark, _ = damaged
    split, mapping = benchmark.split("logos", "train"), benchmark.labels("logos")
    instead = {4: 6, 5: 6, len(split) - 1: 0}
    stand_ins = {split.paths[row]: split.paths[other] for row, other in instead.items()}
    ours = loader(benchmark, workers=workers)
    resumed = loader(benchmark, workers=workers).batches(
        round_robin(12), 5, 12, {"logos": 2, "glyphs": 2, "plates": 1}
    )
    seen = list(ours.batches(round_robin(12), 0, 12, {}))
    for (step, batch), (_, whole) in zip(
        seen, loader(small_benchmark).batches(round_robin(12), 0, 12, {}), strict=True
    ):
        assert batch.ids == tuple(
            stand_ins.get(path, path) if batch.domain == "logos" else path for path in whole.ids
        )
        if batch.domain == "logos":
            assert batch.labels.tolist() == [
                mapping[int(split.class_ids[split.paths.index(path)])] for path in batch.ids
            ]
        kept = [place for place, path in enumerate(whole.ids) if path not in stand_ins]
        assert torch.equal(batch.images[kept], whole.images[kept])
        if step >= 5:
            assert equal(batch, next(resumed)[1])
    assert ours.unreadable == {"logos": sorted(stand_ins)}


def test_too_many_images_that_cannot_be_decoded(damaged: tuple[Benchmark, list[int]]) -> None:
    """Above the limit one sentence names the split, the last such image and the key; what is known
    from before counts too.
    """
    benchmark, _ = damaged
    store = ImageStore(benchmark.root, max_unreadable=2)
    size = len(benchmark.split("logos", "train"))
    with pytest.raises(
        DataError,
        match=rf"the train split of logos: 3 of its {size} images cannot be decoded.*allowed are 2",
    ):
        BatchLoader(benchmark, store, DOMAINS, TRANSFORM, size, 0, 1).load("logos", 0)
    known = {"logos": ["a.jpg", "b.jpg"]}
    with pytest.raises(DataError, match="3 of its"):
        BatchLoader(
            benchmark,
            ImageStore(benchmark.root, max_unreadable=2),
            DOMAINS,
            TRANSFORM,
            size,
            0,
            1,
            None,
            known,
        ).load("logos", 0)


def test_a_domain_without_any_image(damaged: tuple[Benchmark, list[int]]) -> None:
    """Where not one image of a split can be decoded, that is said whatever the limit is: nothing
    can take their place.
    """
    benchmark, _ = damaged
    for path in benchmark.split("logos", "train").paths:
        (benchmark.root / "images" / path).write_bytes(b"no image")
    with pytest.raises(DataError, match="images cannot be decoded"):
        BatchLoader(
            benchmark, ImageStore(benchmark.root, max_unreadable=10**6), DOMAINS, TRANSFORM, 4, 0, 1
        ).load("logos", 0)


@pytest.mark.parametrize("mode", ["resize_crop", "random_resized_crop"])
def test_orientation_reaches_the_batch(
    small_benchmark: Benchmark, tmp_path: Path, mode: str
) -> None:
    """With `exif` a batch holds the images upright, in either mode of the transform; without it, as
    they are stored.
    """
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    benchmark = Benchmark.open(root, list(DOMAINS))
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in benchmark.split("logos", "train").paths:
        with Image.open(root / "images" / path) as image:
            whole = image.convert("RGB")
        whole.save(root / "images" / path, format="PNG", exif=exif)
    turned = Transform(mode=mode, resize=36, crop=32, orientation="exif")
    upright = BatchLoader(benchmark, ImageStore(root), DOMAINS, turned, 8, 0, 1).load("logos", 0)
    stored = BatchLoader(
        benchmark, ImageStore(root), DOMAINS, attrs.evolve(turned, orientation=None), 8, 0, 1
    ).load("logos", 0)
    assert not torch.equal(upright.images, stored.images)
    crops = [sample_crop(generator(0, f"image/logos/{position}"), turned) for position in range(8)]
    store = ImageStore(root)
    expected = [
        train_image(store.load(path, upright=True), crop)
        for path, crop in zip(upright.ids, crops, strict=True)
    ]
    assert torch.equal(upright.images, torch.stack(expected))


@pytest.mark.parametrize(
    ("method", "does", "message"),
    [
        (
            "known_until",
            lambda: 4,
            r"sampler 'mine' stands still: known_until\(\) is 4 before step 4 of 12",
        ),
        (
            "known_until",
            lambda: 0,
            r"sampler 'mine' stands still: known_until\(\) is 0 before step 0 of 12",
        ),
        (
            "domain_at",
            lambda step: "carz",
            "sampler 'mine' named domain 'carz' for step 0; there are logos, glyphs, plates",
        ),
        ("domain_at", lambda step: 1, "sampler 'mine' named domain 1 for step 0"),
    ],
)
def test_a_sampler_that_fails_is_named(
    small_benchmark: Benchmark, method: str, does: Callable[..., object], message: str
) -> None:
    """A sampler that does not move on, or names no known domain, is one sentence with its name."""
    sampler = round_robin(12)
    setattr(sampler, method, does)
    with pytest.raises(DataError, match=message):
        list(loader(small_benchmark).batches(sampler, 0, 12, {}, "sampler 'mine'"))


def test_pinning_uses_the_gpu_of_the_run(
    small_benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is pinned while the run's own GPU is the thread's current one, so that no other GPU is
    woken.
    """
    current: list[object] = []

    @contextmanager
    def device(wanted: torch.device) -> Iterator[None]:
        current.append(wanted)
        yield
        current.pop()

    pinned = []
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda tensor: pinned.append(current[-1]) or tensor
    )
    wanted = torch.device("cuda:1")
    BatchLoader(
        small_benchmark, ImageStore(small_benchmark.root), DOMAINS, TRANSFORM, 4, 0, 1, wanted
    ).load("logos", 0)
    assert pinned == [wanted, wanted]

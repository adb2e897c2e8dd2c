"""The protocol on images: what is embedded, what is searched, and against which index."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore
from udonx.data.transforms import CentreCrop
from udonx.data.unreadable import Unreadable
from udonx.evaluation import kept as kept_module
from udonx.evaluation import protocol
from udonx.evaluation.kept import KeptEmbeddings
from udonx.evaluation.protocol import Embedder, ProtocolResult, embed_paths, evaluate, image_count

DOMAINS = ("glyphs", "logos", "plates")
CPU = torch.device("cpu")


class Pixels:
    """Embeds an image by its own normalised pixels, and counts what it is asked."""

    crop, upright = 16, False

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, int]] = []

    def embed(self, images_B3HW: Tensor, branch: str, domain: str | None = None) -> Tensor:
        self.asked.append((branch, domain, len(images_B3HW)))
        flat = images_B3HW.flatten(1) - 128
        return flat / flat.norm(dim=1, keepdim=True)


def scores(benchmark: Benchmark, phase: str, merged: bool) -> dict[str, float]:
    """R@1 per domain by a slow loop over queries, written apart from the code under test."""
    store, rows = ImageStore(benchmark.root), {"query": [], "index": []}
    for domain in DOMAINS:
        for side, name in zip(
            ("query", "index"), benchmark.query_index(domain, phase), strict=True
        ):
            split = benchmark.split(domain, name)
            for path, label in zip(split.paths, split.class_ids.tolist(), strict=True):
                flat = CentreCrop(16)(store.load(path)).flatten().numpy().astype(np.float64) - 128
                rows[side].append((domain, path, label, flat / np.linalg.norm(flat)))
    found = {}
    for wanted in DOMAINS:
        hits = []
        for domain, path, label, vector in rows["query"]:
            if domain == wanted:
                index = [
                    one
                    for one in rows["index"]
                    if (merged or one[0] == domain) and (one[0], one[1]) != (domain, path)
                ]
                nearest = max(index, key=lambda one: float(one[3] @ vector))
                hits.append(nearest[0] == domain and nearest[2] == label)
        found[wanted] = float(np.mean(hits))
    return found


class Symmetric(Pixels):
    """Embeds an image by the mean of its pixels and its mirror image's: flips change nothing."""

    def embed(self, images_B3HW: Tensor, branch: str, domain: str | None = None) -> Tensor:
        return super().embed((images_B3HW + images_B3HW.flip(-1)) / 2, branch, domain)


def test_a_flipped_embedding_is_the_unit_mean_over_image_and_mirror_image() -> None:
    """Mirror images have one embedding, of unit length; one that flips do not change stays."""
    images_B3HW = torch.from_numpy(np.random.default_rng(0).random((4, 3, 16, 16))).float() * 255
    flipped_BD = Embedder(Pixels(), "student", "flip").embed(images_B3HW)
    pixels_BD = Pixels().embed(images_B3HW, "student")
    mirrored_BD = Pixels().embed(torch.flip(images_B3HW, dims=[3]), "student")
    total_BD = (pixels_BD + mirrored_BD).numpy()
    expected_BD = total_BD / np.linalg.norm(total_BD, axis=1, keepdims=True)
    np.testing.assert_allclose(flipped_BD, expected_BD, atol=1e-6)
    torch.testing.assert_close(
        Embedder(Pixels(), "student", "flip").embed(images_B3HW.flip(-1)), flipped_BD
    )
    plain_BD, same_BD = (
        Embedder(Symmetric(), "student", tta).embed(images_B3HW) for tta in (None, "flip")
    )
    torch.testing.assert_close(same_BD, plain_BD)
    assert not torch.allclose(flipped_BD, Embedder(Pixels(), "student").embed(images_B3HW))


def test_queries_and_index_are_flipped_alike(small_benchmark: Benchmark) -> None:
    """Every image is seen twice, and every query finds what a symmetric embedding finds."""
    store = ImageStore(small_benchmark.root)
    model = Pixels()

    def hits(embedder: Embedder) -> np.ndarray:
        embedders = dict.fromkeys(DOMAINS, embedder)
        result = evaluate(
            embedders, small_benchmark, store, "test", merged=True, device=CPU, workers=2
        )
        return result.merged.per_query.hit

    plain, flipped = (
        hits(Embedder(Symmetric(), "student")),
        hits(Embedder(model, "student", "flip")),
    )
    images = image_count(small_benchmark, DOMAINS, "test")
    assert sum(count for _, _, count in model.asked) == 2 * images
    # a mirror image has the norm of its image: both are along pixels + mirrored pixels
    np.testing.assert_array_equal(plain, flipped)


@pytest.mark.parametrize("phase", ["val", "test"])
def test_against_a_slow_loop(small_benchmark: Benchmark, phase: str) -> None:
    """Merged and own-domain R@1 are those of a plain loop that leaves out the query itself; every
    image is embedded once.
    """
    model, ticks = Pixels(), []
    embedders = {domain: Embedder(model, "student") for domain in DOMAINS}
    result = evaluate(
        embedders,
        small_benchmark,
        ImageStore(small_benchmark.root),
        phase,
        merged=True,
        device=CPU,
        workers=2,
        tick=ticks.append,
    )
    for metrics, merged in ((result.merged, True), (result.own, False)):
        expected = scores(small_benchmark, phase, merged)
        assert {domain: metrics.per_domain[domain].r1 for domain in DOMAINS} == pytest.approx(
            expected
        )
        assert metrics.r1 == pytest.approx(np.mean(list(expected.values())))
    assert result.main is result.merged
    images = image_count(small_benchmark, DOMAINS, phase)
    assert sum(ticks) == sum(count for *_, count in model.asked) == images
    paths = {
        path
        for domain in DOMAINS
        for name in small_benchmark.evaluated_splits(domain, phase)
        for path in small_benchmark.split(domain, name).paths
    }
    assert len(paths) == images


def test_each_domain_its_own_embedder(small_benchmark: Benchmark) -> None:
    """Where domains have different embedders, each embeds its own domain, and there is no merged
    index.
    """
    models = {domain: Pixels() for domain in DOMAINS}
    embedders = {domain: Embedder(model, "teacher") for domain, model in models.items()}
    result = evaluate(
        embedders,
        small_benchmark,
        ImageStore(small_benchmark.root),
        "test",
        merged=False,
        device=CPU,
        workers=1,
    )
    assert result.merged is None and result.main is result.own
    assert all(
        {(branch, asked) for branch, asked, _ in model.asked} == {("teacher", domain)}
        for domain, model in models.items()
    )


def test_several_labels_and_missing_splits(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A query with several labels is answered by any of them; a domain without queries is left out;
    without any there is no result.
    """
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    (root / "info_files/glyphs/test.json").unlink()
    file = root / "info_files/logos/test.json"
    entries = json.loads(file.read_text())
    every = sorted(
        {one["class_id"] for one in json.loads((root / "info_files/logos/index.json").read_text())}
    )
    file.write_text(json.dumps([{**entry, "class_id": every} for entry in entries]))
    benchmark, model = Benchmark.open(root, list(DOMAINS)), Pixels()
    embedders = {domain: Embedder(model, "student") for domain in DOMAINS}
    result = evaluate(
        embedders, benchmark, ImageStore(root), "test", merged=True, device=CPU, workers=2
    )
    assert (
        set(result.own.per_domain) == {"logos", "plates"} and result.own.per_domain["logos"].r1 == 1
    )
    none = evaluate(
        {"glyphs": Embedder(model, "student")},
        benchmark,
        ImageStore(root),
        "test",
        merged=True,
        device=CPU,
        workers=2,
    )
    assert none is None and image_count(benchmark, ["glyphs"], "test") == 0


@pytest.mark.parametrize("workers", [1, 4])
def test_order_and_batches(
    small_benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Embeddings come in the order of the paths, whatever the batch and the number of threads, and
    each file is loaded once.
    """
    monkeypatch.setattr(protocol, "EMBED_BATCH", 4)
    loads: Counter[str] = Counter()

    class Counting(ImageStore):
        def prepared(self, path: str, *arguments: object, **options: object) -> Tensor:
            loads[path] += 1
            return super().prepared(path, *arguments, **options)

    store, paths = Counting(small_benchmark.root), small_benchmark.split("plates", "train").paths
    got, rows = embed_paths(Embedder(Pixels(), "student"), store, paths, "plates", CPU, workers)
    assert loads == Counter(paths) and rows == list(range(len(paths)))
    flat = torch.stack([CentreCrop(16)(store.load(path)) for path in paths]).flatten(1) - 128
    np.testing.assert_allclose(got, flat / flat.norm(dim=1, keepdim=True), atol=1e-6)


def test_every_image_comes_once_and_in_order(small_benchmark):
    """However many images a split has, beyond what is loaded ahead, all of them come, in order."""
    store = ImageStore(small_benchmark.root)
    paths = (small_benchmark.split("glyphs", "train").paths * 100)[:1300]
    batches = list(
        protocol.test_images(store, paths, Pixels(), 2, Unreadable("the split", len(paths), store))
    )
    assert [len(batch) for _, batch in batches] == [256] * 5 + [20] and [
        row for rows, _ in batches for row in rows
    ] == list(range(1300))
    expected = torch.stack([CentreCrop(16)(store.load(path)) for path in paths[1280:]])
    assert torch.equal(batches[-1][1], expected)


@pytest.fixture
def damaged(small_benchmark: Benchmark, tmp_path: Path) -> tuple[Benchmark, set[str]]:
    """A copy of the benchmark with a damaged query and a damaged index image; and their paths."""
    root = tmp_path / "data"
    shutil.copytree(small_benchmark.root, root)
    benchmark = Benchmark.open(root, list(DOMAINS))
    query, index = (
        benchmark.split("logos", name).paths for name in benchmark.query_index("logos", "test")
    )
    for path in (query[1], index[0]):
        file = root / "images" / path
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return benchmark, {query[1], index[0]}


@pytest.mark.parametrize("workers", [1, 3])
def test_images_that_cannot_be_decoded_are_in_neither_queries_nor_index(
    damaged: tuple[Benchmark, set[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    """The result is that of split files which lack these images; they are named with it, and every
    image is counted as done.
    """
    monkeypatch.setattr(protocol, "EMBED_BATCH", 4)
    benchmark, broken = damaged
    embedders, ticks = {domain: Embedder(Pixels(), "student") for domain in DOMAINS}, []
    store = ImageStore(benchmark.root)
    result = evaluate(
        embedders,
        benchmark,
        store,
        "test",
        merged=True,
        device=CPU,
        workers=workers,
        tick=ticks.append,
    )
    assert result.unreadable == broken and sum(ticks) == image_count(benchmark, DOMAINS, "test")
    for file in (benchmark.root / "info_files" / "logos").glob("*.json"):
        file.write_text(
            json.dumps(
                [entry for entry in json.loads(file.read_text()) if entry["path"] not in broken]
            )
        )
    shorter = Benchmark.open(benchmark.root, list(DOMAINS))
    expected = evaluate(embedders, shorter, store, "test", merged=True, device=CPU, workers=workers)
    assert expected.unreadable == frozenset()
    for ours, theirs in ((result.merged, expected.merged), (result.own, expected.own)):
        assert ours.r1 == theirs.r1 and ours.mmp5 == theirs.mmp5
        assert list(ours.per_query.ids) == list(theirs.per_query.ids)
        np.testing.assert_array_equal(ours.per_query.hit, theirs.per_query.hit)


def test_too_many_damaged_images_end_an_evaluation(damaged: tuple[Benchmark, set[str]]) -> None:
    """Above the limit one sentence names the split and an image."""
    benchmark, _ = damaged
    embedders = {domain: Embedder(Pixels(), "student") for domain in DOMAINS}
    with pytest.raises(
        DataError,
        match=r"the \w+ split of logos: 1 of its \d+ image cannot be decoded, .*allowed are 0",
    ):
        evaluate(
            embedders,
            benchmark,
            ImageStore(benchmark.root, max_unreadable=0),
            "test",
            merged=True,
            device=CPU,
            workers=2,
        )


def test_an_interruption_waits_for_no_queued_image(small_benchmark: Benchmark) -> None:
    """Ctrl-C while embedding leaves the images that wait for a thread undecoded."""
    loads: Counter[str] = Counter()

    class Slow(ImageStore):
        def prepared(self, path: str, *arguments: object, **options: object) -> Tensor:
            loads[path] += 1
            time.sleep(0.01)
            return super().prepared(path, *arguments, **options)

    class Interrupted(Pixels):
        def embed(self, images_B3HW: Tensor, branch: str, domain: str | None = None) -> Tensor:
            raise KeyboardInterrupt

    paths = small_benchmark.split("glyphs", "train").paths * 100
    with pytest.raises(KeyboardInterrupt):
        embed_paths(
            Embedder(Interrupted(), "student"), Slow(small_benchmark.root), paths, "glyphs", CPU, 2
        )
    assert sum(loads.values()) <= 3 * protocol.EMBED_BATCH < len(paths)


def test_upright_models_see_upright_images(small_benchmark: Benchmark, tmp_path: Path) -> None:
    """A model that wants images upright gets them so: an image and its turned file have one
    embedding.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "upright.png")
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "images" / "turned.png", exif=exif)
    model, paths = Pixels(), ["upright.png", "turned.png"]
    for upright in (False, True):
        model.upright = upright
        (first, second), _ = embed_paths(
            Embedder(model, "student"), ImageStore(tmp_path), paths, None, CPU, 1
        )
        assert np.allclose(first, second) == upright


def test_an_evaluation_goes_on_where_it_was_killed(
    small_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings of the splits that were done are not made again, and the result is that of an
    evaluation that was not disturbed.
    """
    monkeypatch.setattr(kept_module, "WORTH_SECONDS", 0.0)
    models = dict.fromkeys(DOMAINS, "some weights")
    options = {"merged": True, "device": CPU, "workers": 1}

    def run(
        model: Pixels, kept: KeptEmbeddings | None, tick: Callable[[int], None]
    ) -> ProtocolResult:
        embedders = {domain: Embedder(model, "student") for domain in DOMAINS}
        return evaluate(
            embedders,
            small_benchmark,
            ImageStore(small_benchmark.root),
            "test",
            tick=tick,
            kept=kept,
            **options,
        )

    class Killed(Pixels):
        def embed(self, images_B3HW: Tensor, branch: str, domain: str | None = None) -> Tensor:
            if domain == DOMAINS[1]:
                raise KeyboardInterrupt
            return super().embed(images_B3HW, branch, domain)

    whole, killed, again, ticks = Pixels(), Killed(), Pixels(), []
    expected = run(whole, None, ticks.append)
    with pytest.raises(KeyboardInterrupt):
        run(killed, KeptEmbeddings(tmp_path, models), ticks.append)
    ticks.clear()
    got = run(again, KeptEmbeddings(tmp_path, models), ticks.append)
    assert killed.asked and killed.asked + again.asked == whole.asked
    assert sum(ticks) == image_count(small_benchmark, DOMAINS, "test")
    for ours, theirs in ((got.merged, expected.merged), (got.own, expected.own)):
        assert ours.per_domain == theirs.per_domain
        for name in ("hit", "mmp5", "positives", "ids"):
            np.testing.assert_array_equal(
                getattr(ours.per_query, name), getattr(theirs.per_query, name)
            )

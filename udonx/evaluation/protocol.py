"""The benchmark protocol.

Every query and index image is embedded once, then the merged and the own-domain index are searched.

Source: the protocol of UnED (Towards Universal Image Embeddings, ICCV 2023); docs/method.md,
"Evaluation".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Literal, Protocol

import attrs
import numpy as np
import torch
from torch import Tensor

from registry.heads.initialisers import l2_normalise
from registry.metrics import DEFAULTS
from udonx.common.threads import in_threads
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore, UndecodableError
from udonx.data.splits import Phase, Split
from udonx.data.transforms import CentreCrop
from udonx.data.unreadable import Unreadable
from udonx.evaluation.kept import KeptEmbeddings
from udonx.evaluation.metric import RetrievalMetric, Role
from udonx.evaluation.metrics import RetrievalMetrics

EMBED_BATCH = 256
"""Images that are embedded at once."""
Tick = Callable[[int], None]
"""Is told of so many images more that are done."""


def _no_tick(count: int) -> None:
    pass


class Embedding(Protocol):
    """What is evaluated: a model in eval mode.

    Attributes:
        crop: edge in pixels of the images that it embeds.
        upright: whether images are turned as their EXIF orientation says.
    """

    crop: int
    upright: bool

    def embed(self, images_B3HW: Tensor, branch: str, domain: str | None = None) -> Tensor:
        """Embeddings of one branch, float32 [B, D] with unit rows.

        Args:
            images_B3HW: float [B, 3, H, W], 0..255.
            branch: "feature", "student" or "teacher".
            domain: whose teacher; the other branches need none.
        """


@attrs.frozen(eq=False)
class Embedder:
    """A model, the branch of it that embeds, and how it looks at an image.

    Attributes:
        model: what embeds.
        branch: "feature", "student" or "teacher".
        tta: "flip" for the mean over an image and its mirror image; None for the image alone.
    """

    model: Embedding
    branch: str
    tta: Literal["flip"] | None = None

    def embed(self, images_B3HW: Tensor, domain: str | None = None) -> Tensor:
        """Embeddings float32 [B, D] with unit rows.

        Args:
            images_B3HW: float [B, 3, H, W], 0..255.
            domain: of the images; only a teacher asks.
        """
        embedding_BD = self.model.embed(images_B3HW, self.branch, domain).float()
        if self.tta is None:
            return embedding_BD
        mirrored_BD = self.model.embed(images_B3HW.flip(-1), self.branch, domain).float()
        return l2_normalise(embedding_BD + mirrored_BD)


@attrs.frozen(eq=False)
class ProtocolResult:
    """The metrics of an evaluation.

    Attributes:
        merged: with the merged index; None where the domains have different embeddings.
        own: with the own-domain index.
        unreadable: images that could not be decoded and are in neither queries nor index.
    """

    merged: RetrievalMetrics | None
    own: RetrievalMetrics
    unreadable: frozenset[str] = frozenset()

    @property
    def main(self) -> RetrievalMetrics:
        """The merged metrics where there are any, else the own-domain ones."""
        return self.merged if self.merged is not None else self.own


def test_images(
    store: ImageStore,
    paths: Sequence[str],
    model: Embedding,
    workers: int,
    unreadable: Unreadable,
    tick: Tick = _no_tick,
) -> Generator[tuple[list[int], Tensor]]:
    """Images as a model's evaluation sees them, decoded ahead in threads.

    Yields:
        Their places in `paths`, and float32 [up to 256, 3, crop, crop].

    They come in order; those that cannot be decoded are left out and noted in `unreadable`, which
    raises DataError above its limit.
    """
    prepare = CentreCrop(model.crop)

    def load(row: int) -> tuple[int, Tensor] | None:
        try:
            return row, store.prepared(paths[row], prepare, upright=model.upright)
        except UndecodableError as error:
            unreadable.add(paths[row], error)
            return None

    def whole(loaded: list[tuple[int, Tensor] | None]) -> tuple[int, list[int], Tensor | None]:
        rows, images = [], []
        for row, image in filter(None, loaded):
            rows.append(row)
            images.append(image)
        return len(loaded), rows, torch.stack(images) if images else None

    chunks = in_threads(
        load, range(len(paths)), workers, chunk=EMBED_BATCH, whole=whole, name="udonx-embed"
    )
    with closing(chunks):
        for count, rows, images_B3HW in chunks:
            if images_B3HW is not None:
                yield rows, images_B3HW
            tick(count)


def embed_paths(
    embedder: Embedder,
    store: ImageStore,
    paths: Sequence[str],
    domain: str | None,
    device: torch.device,
    workers: int,
    tick: Tick = _no_tick,
    unreadable: Unreadable | None = None,
) -> tuple[np.ndarray, list[int]]:
    """Embed images below the store's root.

    Those that cannot be decoded are noted in `unreadable`.

    Returns:
        Embeddings float32 [M, D], and the M places in `paths` that they are of.
    """
    unreadable = unreadable or Unreadable("the images", len(paths), store)
    parts, rows = [], []
    with closing(test_images(store, paths, embedder.model, workers, unreadable, tick)) as batches:
        for places, images_B3HW in batches:
            parts.append(embedder.embed(images_B3HW.to(device, non_blocking=True), domain).cpu())
            rows += places
    embeddings_MD = torch.cat(parts).numpy()
    bad = np.flatnonzero(~np.isfinite(embeddings_MD).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} embeddings are not finite, the first that of {paths[rows[bad[0]]]}: either"
            " its features are all zero, so that they have no direction, or training went astray"
            " (see the stage's log.jsonl)"
        )
    return embeddings_MD, rows


def image_count(benchmark: Benchmark, domains: Iterable[str], phase: Phase) -> int:
    """How many images an evaluation embeds."""
    return sum(
        len(benchmark.split(domain, name))
        for domain in domains
        for name in benchmark.evaluated_splits(domain, phase)
    )


def evaluate(
    embedders: Mapping[str, Embedder],
    benchmark: Benchmark,
    store: ImageStore,
    phase: Phase,
    *,
    merged: bool,
    device: torch.device,
    workers: int,
    metrics: Iterable[str] = DEFAULTS,
    tick: Tick = _no_tick,
    kept: KeptEmbeddings | None = None,
    neighbours: int = 0,
) -> ProtocolResult | None:
    """Embed and search the queries of all domains in `embedders` that have any in this phase.

    The result is None where none has.

    Args:
        embedders: a model and its branch for each domain.
        benchmark: the split files.
        store: the images.
        phase: "val" or "test".
        merged: whether to search the merged index beside the own-domain one; it makes sense where
            all domains share one embedding.
        device: where images are embedded.
        workers: threads that load images.
        metrics: names of registered metrics.
        tick: called with the number of further images that are done.
        kept: where embeddings are kept until the caller removes them, and looked for first.
        neighbours: how many nearest index images of each query the result has; 0 for none.
    """
    splits = {
        domain: names
        for domain in embedders
        if (names := benchmark.query_index(domain, phase)) is not None
    }
    if not splits:
        return None

    def embedded(domain: str, name: str) -> tuple[np.ndarray, list[int]]:
        paths = benchmark.split(domain, name).paths
        if kept is not None and (found := kept.load(domain, name, len(paths))) is not None:
            tick(len(paths))
            return found
        began = time.monotonic()
        missing = Unreadable(f"the {name} split of {domain}", len(paths), store)
        embeddings_MD, rows = embed_paths(
            embedders[domain], store, paths, domain, device, workers, tick, missing
        )
        if kept is not None:
            kept.save(domain, name, embeddings_MD, rows, time.monotonic() - began)
        return embeddings_MD, rows

    sizes: dict[Role, int] = {
        "query": sum(len(benchmark.split(domain, query)) for domain, (query, _) in splits.items()),
        "index": sum(len(benchmark.split(domain, index)) for domain, (_, index) in splits.items()),
    }
    metric = RetrievalMetric(metrics=metrics, merged=merged, sizes=sizes, neighbours=neighbours)
    left_out: set[str] = set()
    for domain, (query, searched) in splits.items():
        for name, roles in _roles(query, searched):
            split = benchmark.split(domain, name)
            left_out |= _add(metric, roles, split, *embedded(domain, name))
    figures = metric.compute()
    return ProtocolResult(
        merged=figures.get("merged"), own=figures["own"], unreadable=frozenset(left_out)
    )


def _roles(query: str, searched: str) -> list[tuple[str, list[Role]]]:
    """The splits of a domain, each with what its images are; one that is both is embedded once."""
    if query == searched:
        return [(query, ["query", "index"])]
    return [(query, ["query"]), (searched, ["index"])]


def _add(
    metric: RetrievalMetric,
    roles: Iterable[Role],
    split: Split,
    embeddings_MD: np.ndarray,
    rows: list[int],
) -> set[str]:
    """Give the images of a split that have embeddings to the metric; returns the others' paths."""
    ids = [f"{split.domain}/{split.paths[row]}" for row in rows]
    for role in roles:
        domains = [split.domain] * len(rows)
        metric.update(embeddings_MD, _labels(split, rows, role), domains, ids, role=role)
    if len(rows) == len(split):
        return set()
    return {split.paths[row] for row in set(range(len(split))).difference(rows)}


def _labels(split: Split, rows: list[int], role: Role) -> np.ndarray | list:
    """The labels of some images of a split; index items have but their first."""
    labels = split.labels()
    if isinstance(labels, np.ndarray):
        return labels[rows]
    return [labels[row] if role == "query" else labels[row][0] for row in rows]

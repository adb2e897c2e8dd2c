"""The benchmark protocol: embed every query and index image once, then search the merged and the own-domain index.

Source: the protocol of UnED (Towards Universal Image Embeddings, ICCV 2023); docs/method.md, "Evaluation".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Literal, Protocol

import attrs
import numpy as np
import torch
from torch import Tensor

from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore, UndecodableError
from udonx.data.threads import in_threads
from udonx.data.transforms import CentreCrop
from udonx.data.unreadable import Unreadable
from udonx.evaluation.metrics import RetrievalMetrics, retrieval_metrics

Stage = Literal["val", "test"]
EMBED_BATCH = 256
"""Images that are embedded at once."""
Tick = Callable[[int], None]
"""Is told of so many images more that are done."""


def _no_tick(count: int) -> None:
    pass


class Embedding(Protocol):
    """What is evaluated: a model in eval mode that embeds float images [B, 3, crop, crop], 0..255, of a domain. `upright`: images are
    turned as their EXIF orientation says."""

    crop: int
    upright: bool

    def embed(self, images_B3HW: Tensor, branch: str, domain: str | None = None) -> Tensor: ...


@attrs.frozen(eq=False)
class Embedder:
    """A model and the branch of it that embeds."""

    model: Embedding
    branch: str


@attrs.frozen(eq=False)
class ProtocolResult:
    """Metrics with the merged index (None where the domains have different embeddings) and with the own-domain index; `unreadable` are
    the images that could not be decoded and are in neither queries nor index."""

    merged: RetrievalMetrics | None
    own: RetrievalMetrics
    unreadable: frozenset[str] = frozenset()

    @property
    def main(self) -> RetrievalMetrics:
        """The merged metrics where there are any, else the own-domain ones."""
        return self.merged if self.merged is not None else self.own


def test_images(
    store: ImageStore, paths: Sequence[str], model: Embedding, workers: int, unreadable: Unreadable, tick: Tick = _no_tick
) -> Iterator[tuple[list[int], Tensor]]:
    """Images as a model's evaluation sees them, decoded ahead in threads: (their places in `paths`, float32 [up to 256, 3, crop, crop]).

    They come in order; those that cannot be decoded are left out and noted in `unreadable`, which raises DataError above its limit.
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

    chunks = in_threads(load, range(len(paths)), workers, chunk=EMBED_BATCH, whole=whole, name="udonx-embed")
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
    """Embeddings float32 [M, D] of images below the store's root, and the M places in `paths` that they are of: all of those that can be
    decoded; the others are noted in `unreadable`."""
    unreadable = unreadable or Unreadable("the images", len(paths), store)
    parts, rows = [], []
    with closing(test_images(store, paths, embedder.model, workers, unreadable, tick)) as batches:
        for places, images_B3HW in batches:
            parts.append(embedder.model.embed(images_B3HW.to(device, non_blocking=True), embedder.branch, domain).float().cpu())
            rows += places
    embeddings_MD = torch.cat(parts).numpy()
    bad = np.flatnonzero(~np.isfinite(embeddings_MD).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} embeddings are not finite, the first that of {paths[rows[bad[0]]]}: either its features are all zero, so that "
            "they have no direction, or training went astray (see the stage's log.jsonl)"
        )
    return embeddings_MD, rows


def image_count(benchmark: Benchmark, domains: Iterable[str], stage: Stage) -> int:
    """How many images an evaluation embeds."""
    return sum(len(benchmark.split(domain, name)) for domain in domains for name in benchmark.evaluated_splits(domain, stage))


def evaluate(
    embedders: Mapping[str, Embedder],
    benchmark: Benchmark,
    store: ImageStore,
    stage: Stage,
    *,
    merged: bool,
    device: torch.device,
    workers: int,
    tick: Tick = _no_tick,
) -> ProtocolResult | None:
    """Embed and search the queries of all domains in `embedders` that have any at this stage; None where none has.

    `merged` asks for the merged index beside the own-domain one; it makes sense where all domains share one embedding.
    """
    queries: dict[str, list] = {"embeddings": [], "labels": [], "domains": [], "ids": []}
    index: dict[str, list] = {"embeddings": [], "labels": [], "domains": [], "ids": []}
    unreadable: set[str] = set()
    for domain, embedder in embedders.items():
        splits = benchmark.query_index(domain, stage)
        if splits is None:
            continue
        embedded = {}
        for name in dict.fromkeys(splits):
            paths = benchmark.split(domain, name).paths
            missing = Unreadable(f"the {name} split of {domain}", len(paths), store)
            embedded[name] = embed_paths(embedder, store, paths, domain, device, workers, tick, missing)
            unreadable |= missing.paths
        for side, name in zip((queries, index), splits, strict=True):
            split = benchmark.split(domain, name)
            labels = split.labels()
            embeddings_MD, rows = embedded[name]
            side["embeddings"].append(embeddings_MD)
            plain = labels if isinstance(labels, list) else labels.tolist()
            side["labels"].extend([plain[row]] if isinstance(plain[row], int) else plain[row] for row in rows)
            side["domains"].extend([domain] * len(rows))
            side["ids"].extend(f"{domain}/{split.paths[row]}" for row in rows)
    if not queries["ids"]:
        return None
    index_labels = np.array([label[0] for label in index["labels"]], dtype=np.int64)

    def search(own_domain_only: bool) -> RetrievalMetrics:
        return retrieval_metrics(
            np.concatenate(queries["embeddings"]),
            queries["labels"],
            queries["domains"],
            np.concatenate(index["embeddings"]),
            index_labels,
            index["domains"],
            query_ids=queries["ids"],
            index_ids=index["ids"],
            own_domain_only=own_domain_only,
        )

    own = search(True)
    return ProtocolResult(merged=search(False) if merged else None, own=own, unreadable=frozenset(unreadable))

"""The benchmark protocol: embed every query and index image once, then search the merged and the own-domain index.

Source: the protocol of UnED (Towards Universal Image Embeddings, ICCV 2023); docs/method.md, "Evaluation".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal, Protocol

import attrs
import numpy as np
import torch
from torch import Tensor

from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore
from udonx.data.transforms import test_batch
from udonx.evaluation.metrics import RetrievalMetrics, retrieval_metrics

Stage = Literal["val", "test"]
EMBED_BATCH = 256
"""Images that are embedded at once."""


class Embedding(Protocol):
    """What is evaluated: a model in eval mode that embeds float images [B, 3, crop, crop], 0..255, of a domain."""

    crop: int

    def embed(self, images_B3HW: Tensor, branch: str, domain: str | None = None) -> Tensor: ...


@attrs.frozen(eq=False)
class Embedder:
    """A model and the branch of it that embeds."""

    model: Embedding
    branch: str


@attrs.frozen(eq=False)
class ProtocolResult:
    """Metrics with the merged index (None where the domains have different embeddings) and with the own-domain index."""

    merged: RetrievalMetrics | None
    own: RetrievalMetrics

    @property
    def main(self) -> RetrievalMetrics:
        """The merged metrics where there are any, else the own-domain ones."""
        return self.merged if self.merged is not None else self.own


def test_images(
    store: ImageStore, paths: list[str], crop: int, workers: int, tick: Callable[[int], None] = lambda count: None
) -> Iterator[Tensor]:
    """Images as the evaluation sees them, float32 [up to 256, 3, crop, crop], in order, decoded ahead in threads."""

    def load(start: int) -> Tensor:
        return test_batch([store.load(path) for path in paths[start : start + EMBED_BATCH]], crop)

    with ThreadPoolExecutor(workers, thread_name_prefix="udonx-embed") as pool:
        starts = iter(range(0, len(paths), EMBED_BATCH))
        ahead = deque(pool.submit(load, start) for start in islice(starts, workers + 1))
        while ahead:
            images = ahead.popleft().result()
            if (start := next(starts, None)) is not None:
                ahead.append(pool.submit(load, start))
            yield images
            tick(len(images))


def embed_paths(
    embedder: Embedder,
    store: ImageStore,
    paths: list[str],
    domain: str | None,
    device: torch.device,
    workers: int,
    tick: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Embeddings float32 [N, D] of images below the store's root."""
    parts = []
    for images in test_images(store, paths, embedder.model.crop, workers, tick):
        parts.append(embedder.model.embed(images.to(device, non_blocking=True), embedder.branch, domain).float().cpu())
    embeddings_ND = torch.cat(parts).numpy()
    bad = np.flatnonzero(~np.isfinite(embeddings_ND).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} embeddings are not finite, the first that of {paths[bad[0]]}: either its features are all zero, so that they "
            "have no direction, or training went astray (see the stage's log.jsonl)"
        )
    return embeddings_ND


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
    tick: Callable[[int], None] = lambda count: None,
) -> ProtocolResult | None:
    """Embed and search the queries of all domains in `embedders` that have any at this stage; None where none has.

    `merged` asks for the merged index beside the own-domain one; it makes sense where all domains share one embedding.
    """
    queries: dict[str, list] = {"embeddings": [], "labels": [], "domains": [], "ids": []}
    index: dict[str, list] = {"embeddings": [], "labels": [], "domains": [], "ids": []}
    for domain, embedder in embedders.items():
        splits = benchmark.query_index(domain, stage)
        if splits is None:
            continue
        embedded = {}
        for name in dict.fromkeys(splits):
            paths = benchmark.split(domain, name).paths
            embedded[name] = embed_paths(embedder, store, paths, domain, device, workers, tick)
        for side, name in zip((queries, index), splits, strict=True):
            split = benchmark.split(domain, name)
            labels = split.labels()
            side["embeddings"].append(embedded[name])
            rows = labels if isinstance(labels, list) else labels.tolist()
            side["labels"].extend([label] if isinstance(label, int) else label for label in rows)
            side["domains"].extend([domain] * len(split))
            side["ids"].extend(f"{domain}/{path}" for path in split.paths)
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
    return ProtocolResult(merged=search(False) if merged else None, own=own)

"""Batches of one domain, loaded ahead of the step. What a batch holds depends on (seed, domain, position) alone, never on timing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import attrs
import numpy as np
import torch

from registry.contracts import Batch, Sampler, Transform
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore
from udonx.data.seeds import generator
from udonx.data.transforms import sample_crop, train_batch


class DomainOrder:
    """The endless order of one domain's images: its epochs' permutations end to end, so that no remainder is dropped.

    >>> order = DomainOrder(seed=0, domain="cars", size=3)
    >>> sorted(order.items(0, 3)) == sorted(order.items(3, 6)) == [0, 1, 2]
    True
    """

    def __init__(self, seed: int, domain: str, size: int) -> None:
        self.seed, self.domain, self.size = seed, domain, size
        self._epochs: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def _epoch(self, number: int) -> np.ndarray:
        # Several threads load batches of one domain, and may stand in different epochs.
        with self._lock:
            if number not in self._epochs:
                self._epochs = {key: value for key, value in self._epochs.items() if key >= number - 1}
                self._epochs[number] = generator(self.seed, f"order/{self.domain}/{number}").permutation(self.size)
            return self._epochs[number]

    def items(self, start: int, stop: int) -> list[int]:
        """Rows of the split at positions start..stop-1."""
        rows: list[int] = []
        while start < stop:
            epoch, offset = divmod(start, self.size)
            rows += self._epoch(epoch)[offset : offset + stop - start].tolist()
            start += min(self.size - offset, stop - start)
        return rows


@attrs.frozen(eq=False)
class _Domain:
    paths: Sequence[str]
    labels: np.ndarray
    order: DomainOrder


class BatchLoader:
    """Loads training batches in `workers` threads, as far ahead as the sampler knows its domains.

    Decoding and resizing release the interpreter lock, and threads share one image cache, which processes could not.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        store: ImageStore,
        domains: Sequence[str],
        transform: Transform,
        batch: int,
        seed: int,
        workers: int,
        pin: bool,
    ) -> None:
        self.store, self.transform, self.batch, self.seed, self.workers, self.pin = store, transform, batch, seed, workers, pin
        self._domains: dict[str, _Domain] = {}
        for name in domains:
            split, mapping = benchmark.split(name, "train"), benchmark.labels(name)
            labels = np.fromiter((mapping[int(label)] for label in split.class_ids), dtype=np.int64, count=len(split))
            self._domains[name] = _Domain(split.paths, labels, DomainOrder(seed, name, len(split)))

    def load(self, domain: str, position: int) -> Batch:
        """The batch of `domain` that starts at `position` of its order."""
        data = self._domains[domain]
        rows = data.order.items(position, position + self.batch)
        crops = [sample_crop(generator(self.seed, f"image/{domain}/{position + offset}"), self.transform) for offset in range(self.batch)]
        images = train_batch([self.store.load(data.paths[row]) for row in rows], crops)
        labels = torch.from_numpy(data.labels[rows])
        if self.pin:
            images, labels = images.pin_memory(), labels.pin_memory()
        return Batch(images=images, labels=labels, domain=domain, ids=tuple(data.paths[row] for row in rows))

    def batches(self, sampler: Sampler, start: int, steps: int, taken: dict[str, int]) -> Iterator[tuple[int, Batch]]:
        """Yield (step, batch) for steps start..steps-1. `taken` counts the batches that each domain has given before `start`.

        The sampler is asked again after every step, so an update that is made between two steps is followed.
        """
        taken = dict(taken)
        ahead: deque[Future[Batch]] = deque()
        submitted = start
        with ThreadPoolExecutor(self.workers, thread_name_prefix="udonx-load") as pool:
            try:
                for step in range(start, steps):
                    while submitted < min(steps, sampler.known_until(), step + 2 * self.workers + 1):
                        domain = sampler.domain_at(submitted)
                        if domain not in self._domains:
                            raise DataError(
                                f"the sampler named domain {domain!r} for step {submitted}; there are {', '.join(self._domains)}"
                            )
                        ahead.append(pool.submit(self.load, domain, taken.get(domain, 0) * self.batch))
                        taken[domain] = taken.get(domain, 0) + 1
                        submitted += 1
                    yield step, ahead.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

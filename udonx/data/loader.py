"""Batches of one domain, loaded ahead of the step.

What a batch holds depends on (seed, domain, position) alone, never on timing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import attrs
import numpy as np
import torch

from registry.contracts import Batch, Sampler, Transform
from udonx.common.seeds import generator
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.images import ImageStore, UndecodableError
from udonx.data.transforms import (
    CropParams,
    ResizeCrop,
    Squash,
    at_size,
    cut,
    cut_box,
    sample_crop,
)
from udonx.data.unreadable import Unreadable


class DomainOrder:
    """The endless order of one domain's images.

    It is its epochs' permutations end to end, so that no remainder is dropped.

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
                self._epochs = {
                    key: value for key, value in self._epochs.items() if key >= number - 1
                }
                self._epochs[number] = generator(
                    self.seed, f"order/{self.domain}/{number}"
                ).permutation(self.size)
            return self._epochs[number]

    def items(self, start: int, stop: int) -> list[int]:
        """Rows of the split at positions start..stop-1."""
        rows: list[int] = []
        while start < stop:
            epoch, offset = divmod(start, self.size)
            rows += self._epoch(epoch)[offset : offset + stop - start].tolist()
            start += min(self.size - offset, stop - start)
        return rows


class ClassOrder:
    """The endless order of one domain's images in which classes take turns, some images of each.

    All classes come round before one comes again, in another order each time. The images of a class
    come round likewise, from turn to turn; a class with fewer than a turn holds repeats them.

    Args:
        seed: what the order follows from, with the domain and the position.
        domain: its name.
        labels: int64 [N], the class of each row of the split, 0..C-1; -1, which has no turn, for
            none.
        per_class: images of a turn.

    Example:
        >>> order = ClassOrder(0, "cars", np.array([0, 1, 1, 0, 1]), per_class=2)
        >>> rows = order.items(0, 4)
        >>> sorted(map(sorted, (rows[:2], rows[2:])))[0]
        [0, 3]
    """

    def __init__(self, seed: int, domain: str, labels: np.ndarray, per_class: int) -> None:
        counts = np.bincount(labels[labels >= 0])
        self.seed, self.domain, self.per_class = seed, domain, per_class
        # the rows of class c are _rows[_first[c] : _first[c + 1]]
        self._rows = np.argsort(labels, kind="stable")[(labels < 0).sum() :]
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._turns = DomainOrder(seed, f"{domain}/classes", len(counts))

    def items(self, start: int, stop: int) -> list[int]:
        """Rows of the split at positions start..stop-1."""
        first, last = start // self.per_class, (stop - 1) // self.per_class
        classes = self._turns.items(first, last + 1)
        rows = [
            row
            for turn, number in zip(range(first, last + 1), classes, strict=True)
            for row in self._turn(number, turn // self._turns.size)
        ]
        skipped = start - first * self.per_class
        return rows[skipped : skipped + stop - start]

    def _turn(self, number: int, time: int) -> list[int]:
        """The rows that a class gives when it comes round for the `time`th time, from 0."""
        rows = self._rows[self._first[number] : self._first[number + 1]]
        order = DomainOrder(self.seed, f"{self.domain}/class {number}", len(rows))
        return rows[order.items(time * self.per_class, (time + 1) * self.per_class)].tolist()


@attrs.frozen(eq=False)
class _Domain:
    paths: Sequence[str]
    labels: np.ndarray
    order: DomainOrder | ClassOrder
    unreadable: Unreadable


class BatchLoader:
    """Loads training batches in `workers` threads, as far ahead as the sampler knows its domains.

    Decoding and resizing release the interpreter lock, and threads share one store of images, which
    processes could not. For an image that cannot be decoded the next one of its split that can
    takes its place.

    Args:
        benchmark: the split files.
        store: the images.
        domains: the domains that batches are of.
        transform: how images are cut.
        batch: images of a batch.
        seed: of the order and the crops. What a batch holds follows from this and the above alone.
        workers: threads.
        pin: the GPU that batches will be copied to, from pinned memory; None: none.
        unreadable: images by domain that are known not to be decodable.
        per_class: images of each class in a batch; None where the images come round alike.
        sizes: further edges in pixels at which the same parts of the images are wanted.
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
        pin: torch.device | None = None,
        unreadable: Mapping[str, Sequence[str]] | None = None,
        per_class: int | None = None,
        sizes: Sequence[int] = (),
    ) -> None:
        self.sizes = tuple(sizes)
        self.store, self.transform, self.batch, self.seed, self.workers, self.pin = (
            store,
            transform,
            batch,
            seed,
            workers,
            pin,
        )
        self.upright = transform.orientation == "exif"
        self._domains: dict[str, _Domain] = {}
        for name in domains:
            split, labels = benchmark.split(name, "train"), benchmark.train_labels(name)
            known = Unreadable(
                f"the train split of {name}", len(split), store, (unreadable or {}).get(name, ())
            )
            order = (
                DomainOrder(seed, name, len(split))
                if per_class is None
                else ClassOrder(seed, name, labels, per_class)
            )
            self._domains[name] = _Domain(split.paths, labels, order, known)
        self._left_out = {name: set((unreadable or {}).get(name, ())) for name in domains}

    @property
    def unreadable(self) -> dict[str, list[str]]:
        """The images that could not be decoded for the batches given so far, by domain, sorted.

        Those that were known before are among them; what was loaded ahead does not count yet.
        """
        return {name: sorted(paths) for name, paths in self._left_out.items() if paths}

    def load(self, domain: str, position: int) -> Batch:
        """The batch of `domain` that starts at `position` of its order."""
        return self._load(domain, position)[0]

    def _load(self, domain: str, position: int) -> tuple[Batch, list[str]]:
        """A batch, and the images that could not be decoded for it."""
        data = self._domains[domain]
        rows: list[int] = []
        images: list[torch.Tensor] = []
        larger: dict[int, list[torch.Tensor]] = {size: [] for size in self.sizes}
        left_out: list[str] = []
        for offset, row in enumerate(data.order.items(position, position + self.batch)):
            crop = sample_crop(
                generator(self.seed, f"image/{domain}/{position + offset}"), self.transform
            )
            row, image = self._image(data, row, crop, left_out)
            rows.append(row)
            images.append(image)
            for size, others in larger.items():
                others.append(self._crop(data.paths[row], at_size(crop, size)))
        labels = data.labels[rows]
        images_B3HW, labels_B = torch.stack(images), torch.from_numpy(labels)
        # found here, where it is known without waiting for a GPU
        known = np.flatnonzero(labels >= 0)
        labelled = torch.from_numpy(known) if len(known) < len(labels) else None
        sizes = {size: torch.stack(others) for size, others in larger.items()}
        if self.pin is not None:
            # else a thread would wake the first GPU, whichever is used
            with torch.cuda.device(self.pin):
                images_B3HW, labels_B = images_B3HW.pin_memory(), labels_B.pin_memory()
                labelled = None if labelled is None else labelled.pin_memory()
                sizes = {size: images.pin_memory() for size, images in sizes.items()}
        return (
            Batch(
                images=images_B3HW,
                labels=labels_B,
                labelled=labelled,
                sizes=sizes,
                domain=domain,
                ids=tuple(data.paths[row] for row in rows),
            ),
            left_out,
        )

    def _image(
        self, data: _Domain, row: int, crop: CropParams, left_out: list[str]
    ) -> tuple[int, torch.Tensor]:
        """The crop of a row's image, and which row it is.

        Where it cannot be decoded, the next row of the split that can takes its place. The others
        join `left_out`.
        """
        while True:
            try:
                return row, self._crop(data.paths[row], crop)
            except UndecodableError as error:
                data.unreadable.add(data.paths[row], error)  # raises before all rows were tried
                left_out.append(data.paths[row])
                row = (row + 1) % len(data.paths)

    def _crop(self, path: str, crop: CropParams) -> torch.Tensor:
        if isinstance(crop, ResizeCrop):
            return cut(self.store.prepared(path, Squash(crop.resize), upright=self.upright), crop)
        return cut_box(self.store.load(path, upright=self.upright), crop)

    def batches(
        self,
        sampler: Sampler,
        start: int,
        steps: int,
        taken: dict[str, int],
        name: str = "the sampler",
    ) -> Generator[tuple[int, Batch]]:
        """Yield (step, batch) for steps start..steps-1.

        `taken` counts the batches that each domain has given before `start`; `name` is what the
        sampler is called in sentences.

        The sampler is asked again after every step, so an update that is made between two steps is
        followed.

        Raises:
            DataError: an image cannot be read, or too many cannot be decoded; or the sampler knows
                no domain for a step, or a wrong one.
        """
        taken = dict(taken)
        ahead: deque[Future[tuple[Batch, list[str]]]] = deque()
        submitted = start
        with ThreadPoolExecutor(self.workers, thread_name_prefix="udonx-load") as pool:
            try:
                for step in range(start, steps):
                    while submitted < min(
                        steps, sampler.known_until(), step + 2 * self.workers + 1
                    ):
                        domain = sampler.domain_at(submitted)
                        if domain not in self._domains:
                            raise DataError(
                                f"{name} named domain {domain!r} for step {submitted}; there are"
                                f" {', '.join(self._domains)}"
                            )
                        ahead.append(
                            pool.submit(self._load, domain, taken.get(domain, 0) * self.batch)
                        )
                        taken[domain] = taken.get(domain, 0) + 1
                        submitted += 1
                    if not ahead:
                        raise DataError(
                            f"{name} stands still: known_until() is {sampler.known_until()} before"
                            f" step {step} of {steps}"
                        )
                    batch, left_out = ahead.popleft().result()
                    self._left_out[batch.domain].update(left_out)
                    yield step, batch
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

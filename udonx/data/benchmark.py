"""A benchmark as the engine and the protocol see it.

It has domains with splits, facts and images, wherever they come from.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import attrs
import numpy as np

from registry.contracts import DomainFacts, Subset
from udonx.data.errors import DataError
from udonx.data.facts import images_digest, manifest_hash, split_digest, train_facts
from udonx.data.sizes import MISSING, image_sizes
from udonx.data.splits import (
    PHASES,
    UNLABELLED,
    BenchmarkLayout,
    Phase,
    Split,
    label_map,
    read_split,
)
from udonx.data.subset import subset_of


@attrs.define(eq=False, slots=False)
class Benchmark:
    """A folder in UnED's layout.

    `fingerprint` names the generator and seed of generated images, "" for given ones. `phases` are
    those whose queries are there; what only others read cannot be opened.

    Raises:
        DataError: in one sentence, for whatever is wrong with the folder or a split file.
    """

    root: Path
    domains: tuple[str, ...]
    fingerprint: str = ""
    origin: str = ""
    phases: tuple[Phase, ...] = PHASES
    _splits: dict[tuple[str, str], Split] = attrs.field(factory=dict, init=False)
    _sizes: dict[tuple[str, str], np.ndarray] = attrs.field(factory=dict, init=False)
    _digests: dict[tuple[str, str], tuple[str, ...]] = attrs.field(factory=dict, init=False)
    _queries: dict[tuple[str, str], tuple[str, str] | None] = attrs.field(factory=dict, init=False)
    _subsets: dict[tuple[Subset, int], Benchmark] = attrs.field(factory=dict, init=False)

    @classmethod
    def open(
        cls,
        root: Path,
        domains: Sequence[str] | None = None,
        fingerprint: str = "",
        origin: str = "",
    ) -> Benchmark:
        """The benchmark in a folder.

        Args:
            root: the folder, in UnED's layout.
            domains: those to use, in this order; None for all, in alphabetical order.
            fingerprint: names the generator and seed of generated images.
            origin: where the images come from, as a table says it; without it the folder.

        Raises:
            DataError: no such folder or domain.
        """
        names = tuple(BenchmarkLayout(root).domains(domains))
        return cls(Path(root), names, fingerprint, origin or str(Path(root).resolve()))

    @cached_property
    def layout(self) -> BenchmarkLayout:
        """The names of domains and splits."""
        return BenchmarkLayout(self.root)

    @cached_property
    def facts(self) -> tuple[DomainFacts, ...]:
        """Training images and classes of each domain, in order."""
        return tuple(
            train_facts(domain, self.split(domain, "train") if self.has(domain, "train") else None)
            for domain in self.domains
        )

    def split(self, domain: str, name: str) -> Split:
        """A split, read once.

        Raises:
            DataError: it is of a phase that is not there, or what is wrong with it.
        """
        if (domain, name) not in self._splits:
            if self.phases != PHASES and name not in self._open(domain):
                allowed = ", ".join(self._open(domain))
                raise DataError(f"{domain}: '{name}' must not be opened here, only {allowed}")
            self._splits[domain, name] = read_split(self.root, domain, name)
        return self._splits[domain, name]

    def without_test(self) -> Benchmark:
        """The same benchmark without what only a test reads: all that a choice may rest on."""
        return Benchmark(self.root, self.domains, self.fingerprint, self.origin, ("val",))

    def _open(self, domain: str) -> list[str]:
        """The splits that the phases read, and that of training."""
        splits = (self.evaluated_splits(domain, phase) for phase in self.phases)
        return ["train", *itertools.chain.from_iterable(splits)]

    def has(self, domain: str, name: str) -> bool:
        """Whether the domain has such a split."""
        return name in self.layout.split_names(domain)

    def query_index(self, domain: str, phase: Phase) -> tuple[str, str] | None:
        """The (query, index) splits of a domain at "val" or "test", or None."""
        if phase not in self.phases:
            return None
        if (domain, phase) not in self._queries:
            self._queries[domain, phase] = self.layout.query_index_splits(domain, phase)
        return self._queries[domain, phase]

    def labels(self, domain: str) -> dict[int, int]:
        """Original training class ids to 0..C-1."""
        return label_map(self.split(domain, "train"))

    def subset(self, subset: Subset | None, seed: int) -> Benchmark:
        """The same benchmark with a part of its training images, or of their labels.

        Identities are those of the whole: what the part is follows from a stage's own spec.
        """
        if subset is None:
            return self
        if (subset, seed) not in self._subsets:
            part = Benchmark(self.root, self.domains, self.fingerprint, self.origin, self.phases)
            part._splits.update(self._splits)
            for domain in self.domains:
                if self.has(domain, "train"):
                    whole = self.split(domain, "train")
                    part._splits[domain, "train"] = subset_of(whole, subset, seed)
            self._subsets[subset, seed] = part
        return self._subsets[subset, seed]

    def train_labels(self, domain: str) -> np.ndarray:
        """The class of each training image, int64 [N], 0..C-1.

        It is the first where an image has several, and -1 where it has none.
        """
        classes = np.fromiter(self.labels(domain), dtype=np.int64)  # ascending
        class_ids = self.split(domain, "train").class_ids
        return np.where(class_ids == UNLABELLED, -1, np.searchsorted(classes, class_ids))

    def class_counts(self, domain: str) -> np.ndarray:
        """Training images of each class, int64 [C]; an image with several labels counts once."""
        labels = self.train_labels(domain)
        return np.bincount(labels[labels >= 0], minlength=len(self.labels(domain)))

    def missing(self, domain: str, name: str) -> list[str]:
        """The paths of a split that have no image."""
        paths = self.split(domain, name).paths
        return [
            paths[row]
            for row in np.flatnonzero(self._image_sizes(domain, name) == MISSING).tolist()
        ]

    def manifest(self, domain: str, splits: tuple[str, ...]) -> str:
        """Hash of what determines a result on those splits that the domain has.

        It covers their content, and the fingerprint of generated images or something of the images
        that were given, wherever they lie.
        """
        return manifest_hash(
            domain,
            self.fingerprint,
            [(name, *self._digest(domain, name)) for name in splits if self.has(domain, name)],
        )

    def _digest(self, domain: str, name: str) -> tuple[str, ...]:
        """What of a split enters a manifest, computed once."""
        if (domain, name) not in self._digests:
            split = self.split(domain, name)
            images = (
                []
                if self.fingerprint
                else [images_digest(self.root, split, self._image_sizes(domain, name))]
            )
            self._digests[domain, name] = (split_digest(split), *images)
        return self._digests[domain, name]

    def _image_sizes(self, domain: str, name: str) -> np.ndarray:
        """Sizes of a split's images, looked at once."""
        if (domain, name) not in self._sizes:
            self._sizes[domain, name] = image_sizes(self.root, self.split(domain, name).paths)
        return self._sizes[domain, name]

    def evaluated_splits(self, domain: str, phase: Phase) -> tuple[str, ...]:
        """The split files that are read in a phase.

        There are none where the domain has no such queries.
        """
        return tuple(dict.fromkeys(self.query_index(domain, phase) or ()))

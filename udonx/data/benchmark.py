"""A benchmark as the engine and the protocol see it: domains with splits, facts and images, wherever they come from."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import attrs

from registry.contracts import DomainFacts
from udonx.data.errors import DataError
from udonx.data.facts import facts, manifest_hash
from udonx.data.splits import BenchmarkLayout, Split, label_map, read_split
from udonx.files import cache_dir


@attrs.define(eq=False, slots=False)
class Benchmark:
    """A folder in UnED's layout. `fingerprint` names the generator and seed of generated images, "" for given ones.

    Raises DataError, in one sentence, for whatever is wrong with the folder or a split file.
    """

    root: Path
    domains: tuple[str, ...]
    fingerprint: str = ""
    _splits: dict[tuple[str, str], Split] = attrs.field(factory=dict, init=False)
    _queries: dict[tuple[str, str], tuple[str, str] | None] = attrs.field(factory=dict, init=False)

    @classmethod
    def open(cls, root: Path, domains: list[str] | None = None, fingerprint: str = "") -> Benchmark:
        """The benchmark in `root`, with all of its domains in alphabetical order or the given ones in theirs."""
        return cls(Path(root), tuple(BenchmarkLayout(root).domains(domains)), fingerprint)

    @cached_property
    def layout(self) -> BenchmarkLayout:
        """The names of domains and splits."""
        return BenchmarkLayout(self.root)

    @cached_property
    def facts(self) -> tuple[DomainFacts, ...]:
        """Training images and classes of each domain, in order."""
        return tuple(facts(self.root, self.domains).values())

    def split(self, domain: str, name: str) -> Split:
        """A split, read once."""
        if (domain, name) not in self._splits:
            self._splits[domain, name] = read_split(self.root, domain, name)
        return self._splits[domain, name]

    def has(self, domain: str, name: str) -> bool:
        """Whether the domain has such a split."""
        return name in self.layout.split_names(domain)

    def query_index(self, domain: str, stage: str) -> tuple[str, str] | None:
        """The (query, index) splits of a domain at "val" or "test", or None."""
        if (domain, stage) not in self._queries:
            self._queries[domain, stage] = self.layout.query_index_splits(domain, stage)
        return self._queries[domain, stage]

    def labels(self, domain: str) -> dict[int, int]:
        """Original training class ids to 0..C-1."""
        return label_map(self.split(domain, "train"))

    def manifest(self, domain: str, splits: tuple[str, ...]) -> str:
        """Hash of the content of those splits that the domain has, and of the fingerprint."""
        there = [name for name in splits if self.has(domain, name)]
        return manifest_hash(self.root, domain, there, self.fingerprint)

    def evaluated_splits(self, domain: str, stage: str) -> tuple[str, ...]:
        """The split files that are read at "val" or "test", none where the domain has no such queries."""
        return tuple(dict.fromkeys(self.query_index(domain, stage) or ()))


def demo_domains(source: str) -> tuple[str, ...]:
    """The domains of a generated benchmark (`demo` or `demo_pretrain`), without generating it."""
    from udonx.data import demo  # the generator draws with Pillow, which planning on other data does not need

    return demo.PRETRAIN_DOMAINS if source == "demo_pretrain" else demo.DEMO_DOMAINS


def open_demo(
    source: str, *, seed: int, size: str, domains: list[str] | None = None, progress: Callable[[int, int], None] | None = None
) -> Benchmark:
    """The generated benchmark, written to the cache folder if it is not there yet; a second process waits for the first.

    Raises DataError where there is no folder to write it to.
    """
    cache = cache_dir()
    if cache is None:
        raise DataError("the demo benchmark needs a folder that can be written: set UDONX_CACHE to one")
    from udonx.data import demo

    fingerprint = f"{source}-v{demo.GENERATOR_VERSION}-{size}-seed{seed}"
    root = cache / fingerprint
    if not root.is_dir():
        with open(cache / f"{fingerprint}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not root.is_dir():
                try:
                    demo.write_benchmark(root, seed=seed, size=size, pretrain=source == "demo_pretrain", progress=progress)
                except OSError as error:
                    why = error.strerror or error
                    message = f"the demo benchmark could not be written to {root}: {why}; set UDONX_CACHE to a folder with space"
                    raise DataError(message) from error
    return Benchmark.open(root, list(domains or demo_domains(source)), fingerprint)

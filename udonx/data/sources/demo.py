"""Generated benchmarks, which need no download."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from registry import sources
from udonx.common.cache import cache_dir, cache_path, cache_problem
from udonx.common.files import sweep
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.sources import DataSeed, unknown_domains

Size = Literal["full", "smoke"]


@sources.register("demo")
class Demo:
    """Eight domains of generated 48 px pictures whose cues conflict on purpose.

    They are drawn once into the cache folder.
    """

    name = "demo"

    def __init__(
        self,
        *,
        seed: DataSeed = 0,
        size: Annotated[Size, Field(description="`smoke` has a few tiny images.")] = "full",
    ) -> None:
        self.seed, self.size = seed, size

    def domains(self) -> tuple[str, ...]:
        """The domains, without drawing them."""
        return demo_domains(self.name)

    def problems(self, wanted: Sequence[str] | None) -> Iterator[tuple[str, str]]:
        """Domains that there are none of."""
        if wanted:  # listing them imports the generator
            yield from unknown_domains(self.name, self.domains(), wanted)

    def open(self, wanted: Sequence[str] | None, progress: Callable[[int, int], None]) -> Benchmark:
        """The benchmark, drawn if it is not there."""
        return open_demo(
            self.name, seed=self.seed, size=self.size, domains=wanted, progress=progress
        )


@sources.register("demo_pretrain")
class DemoPretrain(Demo):
    """Eight other families of generated pictures, on which the demo's backbone is pre-trained."""

    name = "demo_pretrain"


def demo_domains(source: str) -> tuple[str, ...]:
    """The domains of a generated benchmark (`demo` or `demo_pretrain`), without generating it."""
    # the generator draws with Pillow, which planning on other data does not need
    from udonx.data import demo

    return demo.PRETRAIN_DOMAINS if source == "demo_pretrain" else demo.DEMO_DOMAINS


def open_demo(
    source: str,
    *,
    seed: int,
    size: Size,
    domains: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """The generated benchmark, written to the cache folder if it is not there whole.

    A second process waits for the first.

    Raises:
        DataError: there is no folder to write it to.
    """
    from udonx.data import demo

    pretrain = source == "demo_pretrain"
    fingerprint = f"{source}-v{demo.GENERATOR_VERSION}-{size}-seed{seed}"
    # A picture depends on the fingerprint alone; which of them there are follows from the sizes of
    # the splits, which may grow.
    counts = json.dumps(demo.plan_benchmark(seed=seed, size=size, pretrain=pretrain))
    cache = cache_path()
    if cache is None:
        raise DataError(f"the demo benchmark needs a cache folder, but {cache_problem()}")
    root = cache / f"{fingerprint}-{hashlib.sha256(counts.encode()).hexdigest()[:8]}"
    if not demo.is_whole(root):
        if cache_dir() is None:  # it may be one that can be read alone
            raise DataError(f"the demo benchmark needs a cache folder, but {cache_problem()}")
        _write_demo(
            root,
            partial(
                demo.write_benchmark, seed=seed, size=size, pretrain=pretrain, progress=progress
            ),
        )
    origin = f"{source}, generated from seed {seed}"
    return Benchmark.open(root, list(domains or demo_domains(source)), fingerprint, origin)


def _write_demo(root: Path, write: Callable[[Path], None]) -> None:
    """Write a generated benchmark in place of what is left of one.

    Nothing is done where another process has written it meanwhile.
    """
    from udonx.data import demo

    with open(root.with_name(f"{root.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if demo.is_whole(root):
            return
        sweep(root.parent)
        shutil.rmtree(root, ignore_errors=True)
        try:
            write(root)
        except OSError as error:
            why = error.strerror or error
            raise DataError(
                f"the demo benchmark could not be written to {root}: {why}; set UDONX_CACHE to a"
                " folder with space"
            ) from error

"""The smoke-sized demo benchmark, generated once for all tests of the package."""

from pathlib import Path

import pytest

from udonx.data.benchmark import Benchmark
from udonx.data.demo import DEMO_DOMAINS, write_benchmark


@pytest.fixture(scope="session")
def small_benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Eight domains of a few classes, 32 px."""
    root: Path = tmp_path_factory.mktemp("smoke") / "demo"
    write_benchmark(root, size="smoke")
    return Benchmark.open(root, list(DEMO_DOMAINS), "smoke")

"""What the tests of the engine share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from registry import losses
from registry.contracts import Batch, Branch, LossContext
from tests.udonx.engine.small import LONG, small_job, small_spec
from udonx.data.benchmark import Benchmark
from udonx.engine.train import run_stage
from udonx.store.stage import StageFolder


@contextmanager
def single_threaded() -> Iterator[None]:
    """Within, torch computes with one thread: faster for tensors of a few kilobytes, the more so on
    a machine that is busy; sums of several threads have other last bits.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Every test of the engine is single-threaded."""
    with single_threaded():
        yield


@pytest.fixture(scope="module")
def stage(small_benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished UDON stage; not to be written to."""
    folder = tmp_path_factory.mktemp("stage")
    run_stage(small_job(folder, small_spec(steps=4, validate_every=4), small_benchmark))
    return folder


@pytest.fixture(scope="module")
def images(small_benchmark: Benchmark) -> list[Path]:
    """Validation images of one of its domains."""
    return [
        small_benchmark.root / "images" / path
        for path in small_benchmark.split("logos", "val").paths
    ]


@pytest.fixture
def proxies() -> Iterator[type[torch.nn.Module]]:
    """A registered loss with a context, a parameter and buffers of its own."""

    class Proxies(torch.nn.Module):
        """Pulls embeddings to a random proxy of each class, the more so the more it has seen."""

        def __init__(self, context: LossContext) -> None:
            super().__init__()
            self.context = context
            dim = context.teacher_dim if context.on == "teacher" else context.student_dim
            self.proxies = torch.nn.ParameterDict(
                {
                    domain: torch.randn(len(context.class_counts[domain]), dim)
                    for domain in context.domains
                }
            )
            self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
            self.register_buffer("mean", torch.zeros(()))

        def forward(self, branch: Branch, batch: Batch) -> torch.Tensor:
            """Mean squared distance to the proxies."""
            distance_BD = branch.embedding_BD - self.proxies[batch.domain][batch.labels]
            loss = distance_BD.square().sum(1).mean() * (1 + self.seen / 10) + 0.1 * self.mean
            with torch.no_grad():
                self.seen += 1
                self.mean.lerp_(loss, 0.1)
            return loss

    losses.register("proxies")(Proxies)
    yield Proxies
    losses.registry.forget({__name__})


@pytest.fixture(scope="session")
def short(small_benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> StageFolder:
    """An undisturbed UDON stage of 20 steps, loaded by two threads."""
    job = small_job(tmp_path_factory.mktemp("short"), small_spec(), small_benchmark)
    with single_threaded():  # what lasts for the session is made before what lasts for a module
        run_stage(job)
    return job.folder


@pytest.fixture(scope="session")
def long(small_benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> StageFolder:
    """An undisturbed UDON stage of 100 steps with the dynamic sampler: log lines, updates and
    validations fall on different steps.
    """
    job = small_job(tmp_path_factory.mktemp("long"), small_spec(**LONG), small_benchmark)
    with single_threaded():  # what lasts for the session is made before what lasts for a module
        run_stage(job)
    return job.folder

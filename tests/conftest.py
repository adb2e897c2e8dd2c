"""What several test files share."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import catalogue
import pytest

from udonx.config import plugins

# Stable, so that the generated benchmarks and the descriptions of components are made once, not
# once per session.
os.environ.setdefault(
    "UDONX_CACHE", str(Path(tempfile.gettempdir()) / f"udonx-tests-{os.getuid()}")
)

# A shell starts what runs in its background with SIGINT ignored, which children inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@attrs.frozen
class SmokeRun:
    """A finished run of table 3 on the setting `smoke`: its table and its results folder. Tests
    read it and never change it.
    """

    file: Path
    table: object
    results: Path


@pytest.fixture(autouse=True)
def _without_plug_ins() -> Iterator[None]:
    """What a test's plug-ins have registered is gone after it: the registries are one
    per process.
    """
    yield
    plugins.unload_plugins()
    for key, target in list(catalogue.REGISTRY.items()):
        if key[0] == "udonx" and target.__module__.startswith("udonx_plugin_"):
            del catalogue.REGISTRY[key]


class _Lines(logging.Handler):
    """Collects what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The lines that udonx logs from here on."""
    logger, handler = logging.getLogger("udonx"), _Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.lines
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder `shared` beside the repository (parity numbers, uned_mini); tests that need it are
    skipped where it is absent.
    """
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: parity numbers and uned_mini lie there")
    return folder


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> SmokeRun:
    """Table 3, all rows, seed 0, run once for the whole session."""
    import udonx

    file = Path(__file__).resolve().parents[1] / "experiments" / "table3_ablation.toml"
    results = tmp_path_factory.mktemp("smoke") / "results"
    return SmokeRun(file, udonx.run(file, setting="smoke", results=results, device="cpu"), results)

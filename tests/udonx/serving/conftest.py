"""An index of a few generated photos, and a server of it on a port of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="udonx[serve] is not installed")

import uvicorn

import udonx
from udonx.engine.loaded_model import LoadedModel
from udonx.search.index import Index
from udonx.search.vectors import Vectors
from udonx.serving.app import make_app
from udonx.serving.limits import Limits
from udonx.serving.searcher import Searcher
from udonx.serving.serve import LOOPBACK, listen
from udonx.serving.traffic import Traffic

Start = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="session")
def model() -> LoadedModel:
    """The demo's backbone."""
    return udonx.load_model("demo:main")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photos of two domains."""
    root = tmp_path_factory.mktemp("photos")
    chance = np.random.default_rng(0)
    for domain in ("cars", "dishes"):
        (root / domain).mkdir()
        for number in range(6):
            pixels = chance.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).resize((80, 60))
            image.save(root / domain / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def index_folder(photos: Path, model: LoadedModel, tmp_path_factory: pytest.TempPathFactory):
    """The folder of their index."""
    paths = sorted(str(file.relative_to(photos)) for file in photos.glob("*/*.png"))
    vectors_ND = model.embed([photos / path for path in paths])
    vectors = Vectors(vectors=vectors_ND, paths=paths, model=model.identity(), root=photos)
    folder = tmp_path_factory.mktemp("served") / "photos.index"
    Index.build(vectors).save(folder)
    return folder


@pytest.fixture(scope="session")
def searcher(index_folder: Path, model: LoadedModel) -> Searcher:
    """The index with its model."""
    return Searcher(Index.load(index_folder), model)


@pytest.fixture
def start(searcher: Searcher) -> Start:
    """Serves a searcher; gives a client of it."""

    @contextmanager
    def started(
        served: Searcher = searcher, traffic: Traffic | None = None, **limits: float
    ) -> Iterator[httpx.Client]:
        app = make_app(served, Limits(**limits), traffic or Traffic(), [LOOPBACK])
        with listen(LOOPBACK, 0) as listener:
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            while not server.started:
                time.sleep(0.01)
            address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
            with httpx.Client(base_url=address, timeout=60) as client:
                yield client
            server.should_exit = True
            thread.join()

    return started

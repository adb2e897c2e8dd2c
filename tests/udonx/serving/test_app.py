"""The HTTP API: neighbours, vectors and images of an index, and what is refused."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Semaphore

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.udonx.serving.conftest import Start
from udonx.engine.loaded_model import LoadedModel
from udonx.search.index import Index
from udonx.search.vectors import Vectors
from udonx.serving.searcher import Searcher
from udonx.serving.traffic import Traffic


def bomb(side: int = 12_000) -> bytes:
    """A PNG of a few bytes that says that it has 144 million pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


def test_a_picture_of_the_index_finds_itself_first(start: Start, photos: Path) -> None:
    """With score 1, its domain, its path and where it is shown; a filter keeps one domain."""
    content = (photos / "cars" / "3.png").read_bytes()
    with start() as client:
        answer = client.post("/search", params={"k": 4}, content=content)
        first, *others = answer.json()["neighbours"]
        assert (answer.status_code, len(others)) == (200, 3)
        assert (first["path"], first["domain"]) == ("cars/3.png", "cars")
        assert first["score"] == pytest.approx(1, abs=1e-4)
        own = client.post("/search", params={"k": 9, "domain": "dishes"}, content=content).json()
        scores = [each["score"] for each in own["neighbours"]]
        assert [each["domain"] for each in own["neighbours"]] == ["dishes"] * 6
        assert scores == sorted(scores, reverse=True)
        shown = client.get(first["image"])
        assert shown.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(shown.content)).size == (80, 60)


def test_a_vector_is_that_of_the_model(start: Start, photos: Path, model: LoadedModel) -> None:
    """`/embed` gives what `LoadedModel.embed` gives for the file."""
    file = photos / "dishes" / "1.png"
    with start() as client:
        answer = client.post("/embed", content=file.read_bytes()).json()
    assert np.allclose(answer["vector"], model.embed(file)[0], atol=1e-5)
    assert answer["model"] == str(model.identity())


def test_health_and_the_description_of_the_api(start: Start) -> None:
    """What is served, and every route with its parameters and refusals."""
    with start() as client:
        health = client.get("/health").json()
        api = client.get("/openapi.json").json()
        assert client.get("/docs").status_code == client.get("/static/docs.js").status_code == 200
    assert (health["images"], health["domains"]) == (12, {"cars": 6, "dishes": 6})
    assert {"/search", "/embed", "/health", "/images/{row}"} == set(api["paths"])
    assert {"200", "408", "413", "415", "422", "503"} == set(
        api["paths"]["/search"]["post"]["responses"]
    )


@pytest.mark.parametrize(
    ("path", "content", "status", "sentence"),
    [
        ("/search", b"no picture", 415, "the upload is no image (no JPEG, PNG,"),
        ("/search", b"", 415, "the upload is empty"),
        ("/embed", b"x" * 200_001, 413, "the upload is larger than 0.2 MB"),
        ("/embed", bomb(), 413, "the picture has 144,000,000 pixels, allowed are 50,000,000"),
        ("/search?k=0", b"x", 422, 'k: got "0", but input should be greater than'),
        ("/search?domain=toys", b"x", 422, "domain: got 'toys', allowed are cars, dishes"),
    ],
)
def test_what_is_refused_is_one_sentence(
    start: Start, path: str, content: bytes, status: int, sentence: str
) -> None:
    """With the status that HTTP has for it."""
    with start(max_megabytes=0.2) as client:
        answer = client.post(path, content=content)
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(sentence), answer.json()


def test_an_upload_without_a_length_is_cut_off(start: Start) -> None:
    """A body in chunks is read up to the limit alone."""
    sent: list[int] = []

    def chunks():
        for number in range(1000):
            sent.append(number)
            yield b"x" * 100_000

    # the server may close the connection before all of it was sent
    with start(max_megabytes=0.2) as client, suppress(httpx.TransportError):
        assert client.post("/search", content=chunks()).status_code == 413
    assert len(sent) < 1000


def test_an_upload_that_does_not_come_is_given_up(start: Start) -> None:
    """After the seconds that it has, with a sentence."""
    with start(max_seconds=0.5) as client:
        address = (client.base_url.host, client.base_url.port)
        with socket.create_connection(address, timeout=30) as connection:
            head = f"POST /search HTTP/1.1\r\nHost: {address[0]}\r\nContent-Length: 9\r\n\r\n"
            connection.sendall(head.encode())
            with connection.makefile("rb") as stream:  # its parts, up to the end of the connection
                answer = stream.read().decode()
    assert answer.startswith("HTTP/1.1 408") and "upload took longer than 0.5 seconds" in answer


def test_more_requests_than_allowed_are_refused(
    start: Start, searcher: Searcher, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are under way are answered; the others are told to come back."""
    go_on, answer = threading.Event(), searcher.answer

    def wait(queries):
        go_on.wait(30)
        return answer(queries)

    monkeypatch.setattr(searcher, "answer", wait)
    content, traffic = (photos / "cars" / "0.png").read_bytes(), Traffic()
    with start(traffic=traffic, max_requests=2) as client, ThreadPoolExecutor(2) as threads:
        busy = [threads.submit(client.post, "/embed", content=content) for _ in range(2)]
        while traffic.under_way < 2:
            time.sleep(0.01)
        refused = client.post("/embed", content=content)
        go_on.set()
        assert [each.result().status_code for each in busy] == [200, 200]
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert refused.json()["detail"].startswith("2 requests are under way, more are not taken")
    assert (traffic.answered, traffic.refused) == (2, 1)


def test_concurrent_requests_are_embedded_together(
    start: Start, searcher: Searcher, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while a batch is worked on is the next batch, and each gets its own answer."""
    sizes: list[int] = []
    decoded, prepare, answer = Semaphore(0), searcher.prepare, searcher.answer

    def count(*arguments):
        image_3HW = prepare(*arguments)
        decoded.release()
        return image_3HW

    def wait_for_all(queries):
        sizes.append(len(queries))
        if len(sizes) == 1:
            assert all(decoded.acquire(timeout=30) for _ in range(6))
        return answer(queries)

    monkeypatch.setattr(searcher, "prepare", count)
    monkeypatch.setattr(searcher, "answer", wait_for_all)
    names = [f"cars/{number}.png" for number in range(6)]
    with start() as client, ThreadPoolExecutor(6) as threads:

        def found(name: str) -> str:
            content = (photos / name).read_bytes()
            return client.post("/search", content=content).json()["neighbours"][0]["path"]

        assert list(threads.map(found, names)) == names
    assert sum(sizes) == 6 and len(sizes) < 6


def test_nothing_outside_the_folder_is_ever_shown(
    start: Start, model: LoadedModel, photos: Path, tmp_path: Path
) -> None:
    """A link that leads out, `..` and a place that is not there are no images."""
    root = tmp_path / "photos"
    root.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "own.png").write_bytes((photos / "cars" / "0.png").read_bytes())
    paths = ["link.png", "../secret.png", "own.png"]
    vectors_ND = model.embed([photos / "cars" / f"{number}.png" for number in range(3)])
    vectors = Vectors(vectors=vectors_ND, paths=paths, model=model.identity(), root=root)
    with start(Searcher(Index.build(vectors), model)) as client:
        answers = [client.get(f"/images/{row}") for row in range(4)]
    assert [answer.status_code for answer in answers] == [404, 404, 200, 404]
    assert "lies outside the folder of the index" in answers[0].json()["detail"]
    assert "there is no image 3" in answers[3].json()["detail"]


def test_a_page_of_another_name_cannot_read_it(start: Start) -> None:
    """A request under another host's name is refused, and answers carry a strict policy."""
    with start() as client:
        assert client.get("/health", headers={"Host": "example.org"}).status_code == 400
        assert "default-src 'none'" in client.get("/").headers["content-security-policy"]

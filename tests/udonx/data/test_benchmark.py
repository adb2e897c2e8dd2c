"""A benchmark as the engine sees it, given or generated."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny import ROOT
from udonx.data import benchmark as module
from udonx.data import demo
from udonx.data.benchmark import Benchmark, demo_domains, open_demo
from udonx.data.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two domains: `cars` with class ids 7 and 40 and queries of their own, `birds` with train
    alone.
    """
    entries = {
        "cars": {
            "train": [("a", 40), ("b", 7), ("c", 40)],
            "val": [("d", 1), ("e", 1)],
            "test": [("f", [1, 2])],
            "index": [("g", 1)],
        },
        "birds": {"train": [("h", 0), ("i", 1)]},
    }
    for domain, splits in entries.items():
        for name, items in splits.items():
            file = tmp_path / "info_files" / domain / f"{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(
                json.dumps(
                    [{"path": f"{domain}/{path}.png", "class_id": label} for path, label in items]
                )
            )
            for path, _ in items:
                image = tmp_path / "images" / domain / f"{path}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (4, 4)).save(image)
    return tmp_path


def test_facts_and_splits(root: Path) -> None:
    """Domains come in alphabetical or in the given order, with their counts, labels 0..C-1 and the
    splits of each stage.
    """
    found = Benchmark.open(root)
    assert found.domains == ("birds", "cars") and Benchmark.open(root, ["cars"]).domains == (
        "cars",
    )
    assert [(one.name, one.train_images, one.train_classes) for one in found.facts] == [
        ("birds", 2, 2),
        ("cars", 3, 2),
    ]
    assert found.labels("cars") == {7: 0, 40: 1}
    assert (found.query_index("cars", "test"), found.query_index("cars", "val")) == (
        ("test", "index"),
        ("val", "val"),
    )
    assert (
        found.query_index("birds", "test") is None and found.evaluated_splits("birds", "test") == ()
    )
    assert (found.evaluated_splits("cars", "test"), found.evaluated_splits("cars", "val")) == (
        ("test", "index"),
        ("val",),
    )
    with pytest.raises(DataError, match="no domain 'bird'; did you mean birds"):
        Benchmark.open(root, ["bird"])


def test_split_is_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A split file is read once, however often it is asked for."""
    found, reads, read = Benchmark.open(root), [], module.read_split
    monkeypatch.setattr(module, "read_split", lambda *args: reads.append(args) or read(*args))
    assert found.split("cars", "train") is found.split("cars", "train")
    found.labels("cars")
    assert len(reads) == 1


def test_manifest(root: Path) -> None:
    """The manifest hash follows the content of those splits that are there, and the fingerprint,
    and nothing else.
    """
    first = Benchmark.open(root).manifest("cars", ("train", "val"))
    assert first == Benchmark.open(root, ["cars"]).manifest("cars", ("train", "val", "small_index"))
    assert first != Benchmark.open(root).manifest("cars", ("train",))
    assert first != Benchmark.open(root, fingerprint="demo-v2").manifest("cars", ("train", "val"))
    file = root / "info_files/cars/val.json"
    file.write_text(file.read_text().replace('"class_id": 1', '"class_id": 2', 1))
    assert first != Benchmark.open(root).manifest("cars", ("train", "val"))


def test_demo_is_generated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo is written to the cache folder once, also when two ask at the same time, and found
    there afterwards.
    """
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path))
    writes, write = [], demo.write_benchmark
    monkeypatch.setattr(
        demo,
        "write_benchmark",
        lambda *args, **kwargs: writes.append(args) or write(*args, **kwargs),
    )
    found: list[Benchmark] = []
    threads = [
        threading.Thread(target=lambda: found.append(open_demo("demo", seed=3, size="smoke")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.append(open_demo("demo", seed=3, size="smoke", domains=["logos", "glyphs"]))
    assert len(writes) == 1 and len({one.root for one in found}) == 1
    assert found[0].domains == demo_domains("demo") and found[2].domains == ("logos", "glyphs")
    assert "seed3" in found[0].fingerprint and "smoke" in found[0].fingerprint


def test_demo_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder to write to, or without space in it, the error says which
    variable to set.
    """
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "cache_dir", lambda: None)
    with pytest.raises(DataError, match="UDONX_CACHE"):
        open_demo("demo", seed=0, size="smoke")
    monkeypatch.setattr(module, "cache_dir", lambda: tmp_path)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo, "write_benchmark", full)
    with pytest.raises(DataError, match="No space left on device; set UDONX_CACHE"):
        open_demo("demo", seed=0, size="smoke")


def damaged_image(root: Path) -> Path:
    """One of a generated benchmark's images."""
    return next((root / "images").rglob("*.png"))


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:40])],
    ids=["missing", "cut off"],
)
def test_a_damaged_demo_is_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    """An image of the demo that is missing or cut off is as it was after the demo is
    opened again.
    """
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path))
    image = damaged_image(open_demo("demo", seed=0, size="smoke").root)
    before = image.read_bytes()
    damage(image)
    open_demo("demo", seed=0, size="smoke")
    assert image.read_bytes() == before


def test_a_demo_that_is_there_is_used_from_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache folder on a read-only disk serves the demo that was written to it."""
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path))
    root = open_demo("demo", seed=0, size="smoke").root
    monkeypatch.setattr(module, "cache_dir", lambda: None)
    assert open_demo("demo", seed=0, size="smoke").root == root


# A script as a beginner writes it, without `if __name__ == "__main__"`. Few enough pictures for a
# test, in more processes than one.
SCRIPT = """
import dataclasses, sys
from udonx.data.demo import build, families
for name, domain in families.DEMO.items():
    split = families.Split(4, int(sys.argv[1]))
    families.DEMO[name] = dataclasses.replace(domain, train=split, val=split, test=split)
build._cores = lambda: 2
from udonx.data.benchmark import open_demo
print(open_demo("demo", seed=0, size="full").root)
"""


def start_script(folder: Path, images: int) -> subprocess.Popen[str]:
    """A process that draws the demo with `images` images a split into the folder."""
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "UDONX_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(folder / "script.py"), str(images)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def is_running(process: subprocess.Popen[str]) -> bool:
    """Whether a process that leads a session, or any that it started, still runs."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_script_without_a_guard_draws_the_demo(tmp_path: Path) -> None:
    """The drawing processes do not run the caller's script again, so the first use of the demo in
    it does not wait for itself.
    """
    process = start_script(tmp_path, 16)
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, errors
    assert len(list(Path(output.strip(), "images").rglob("*.png"))) == 8 * 3 * 16


def test_nothing_stays_of_a_process_that_was_killed_while_it_drew(tmp_path: Path) -> None:
    """The drawing processes end with their parent, and what they had drawn is removed by the next
    one that draws.
    """
    process = start_script(tmp_path, 800)
    try:
        wait_for(lambda: any((tmp_path / "cache").rglob("*.png")))
        process.kill()
        process.wait()
        wait_for(lambda: not is_running(process))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert [file.suffix for file in (tmp_path / "cache").iterdir() if file.is_dir()] == [".tmp"]
    output, errors = start_script(tmp_path, 4).communicate(timeout=60)
    assert [file for file in (tmp_path / "cache").iterdir() if file.is_dir()] == [
        Path(output.strip())
    ], errors


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Return when the condition holds; fails the test where it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)

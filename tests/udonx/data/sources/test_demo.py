"""The generated sources: drawn once, found again, whole whatever happens amid the drawing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import ROOT
from udonx.data import demo
from udonx.data.benchmark import Benchmark
from udonx.data.errors import DataError
from udonx.data.sources import demo as module
from udonx.data.sources.demo import demo_domains, open_demo


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
from udonx.data.sources.demo import open_demo
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


def test_a_cache_folder_that_is_a_file_is_named(tmp_path, monkeypatch):
    """The sentence says which path cannot be used, and why."""
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"/cache is a file: set UDONX_CACHE to a folder"):
        open_demo("demo", seed=0, size="smoke")

"""Draw the pictures of classes, in several processes.

Every image depends only on (GENERATOR_VERSION, seed, domain, class, image number), so neither order
nor processes matter.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from udonx.data.demo.canvas import rng_for
from udonx.data.demo.families import DEMO, PRETRAIN

GENERATOR_VERSION = 1
"""Part of every seed. Raise it when any picture changes, so that figures taken on other pictures
are not compared.
"""

ClassJob: TypeAlias = tuple[str, int, int]
"""Domain, class id, number of images."""

# A worker has its parent's import path, and none of its main module: a script without a `__main__`
# guard is not run again in it.
_WORKER = (
    "import sys; sys.path[:] = sys.argv[4:]; from udonx.data.demo.drawing import serve;"
    " serve(*sys.argv[1:4])"
)


def draw_class(root: Path, job: ClassJob, seed: int, px: int) -> int:
    """Draw all images of a class into the folder of its domain, which exists.

    Returns:
        How many they are.
    """
    name, class_id, count = job
    domain = (DEMO | PRETRAIN)[name]
    key = (GENERATOR_VERSION, seed, name)
    own = rng_for(*key, "class", class_id)
    params = domain.family.draw_class(rng_for(*key, "genus", int(own.integers(domain.genera))), own)
    folder = root / "images" / name / f"{class_id:04d}"
    folder.mkdir(exist_ok=True)
    for number in range(count):
        image = domain.family.render(params, rng_for(*key, "image", class_id, number), px)
        image.save(folder / f"{number:03d}.png", compress_level=1)
    return count


def sample_pictures(count: int, px: int) -> list[Image.Image]:
    """Pictures of all demo domains in turn, RGB, `px` x `px`, of as many classes.

    Example:
        >>> [picture.size for picture in sample_pictures(2, 40)]
        [(40, 40), (40, 40)]
    """
    pictures = []
    for number, (name, domain) in zip(range(count), itertools.cycle(DEMO.items()), strict=False):
        key = (GENERATOR_VERSION, "sample", name)
        params = domain.family.draw_class(
            rng_for(*key, "genus", number), rng_for(*key, "class", number)
        )
        pictures.append(domain.family.render(params, rng_for(*key, "image", number), px))
    return pictures


def draw(
    root: Path, jobs: Sequence[ClassJob], *, seed: int, px: int, workers: int
) -> Generator[int]:
    """Draw all classes, yielding the number of images of each as it is done.

    Args:
        root: holds `images/<domain>` for every domain.
        jobs: the classes.
        seed: of the benchmark.
        px: the edge of a picture.
        workers: processes; 1 draws in this one. They end with this process, however it ends.

    Raises:
        OSError: an image cannot be written.
    """
    left = deque(jobs)
    busy: dict[_Worker, ClassJob] = {}
    with contextlib.ExitStack() as ending, selectors.DefaultSelector() as ready:
        # an interpreter inside another program has no file of its own
        if workers > 1 and sys.executable:
            for _ in range(min(workers, len(jobs))):
                # no further process can be started: there are fewer
                with contextlib.suppress(OSError):
                    process = ending.enter_context(_start(root, seed, px))
                    ending.callback(process.kill)
                    worker = _Worker(process)
                    ready.register(worker.answers, selectors.EVENT_READ, worker)
                    _give(worker, left.popleft(), busy)
        while busy:
            for key, _ in ready.select():
                worker, job = key.data, busy.pop(key.data)
                if not worker.answers.read(1):
                    # It died, or cannot write. Here the class is drawn after all, or the reason is
                    # raised.
                    ready.unregister(worker.answers)
                    yield draw_class(root, job, seed, px)
                    continue
                if left:
                    _give(worker, left.popleft(), busy)
                yield job[2]
    for job in left:
        yield draw_class(root, job, seed, px)


def _start(root: Path, seed: int, px: int) -> subprocess.Popen[bytes]:
    """A process that serves this one.

    It prints nothing of its own, since whatever stops it shows again here.
    """
    command = [sys.executable, "-c", _WORKER, str(root), str(seed), str(px), *sys.path]
    return subprocess.Popen(
        command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


class _Worker:
    """The two pipes of a process of `_start`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None  # both were asked for
        self.jobs, self.answers = process.stdin, process.stdout


def _give(worker: _Worker, job: ClassJob, busy: dict[_Worker, ClassJob]) -> None:
    busy[worker] = job
    # it is dead: its output has ended, which is noticed there
    with contextlib.suppress(BrokenPipeError):
        worker.jobs.write(json.dumps(job).encode() + b"\n")


def serve(root: str, seed: str, px: str) -> None:
    """Draw the classes that come on stdin, a line each, and answer a byte for each.

    It ends when stdin does, as it does when the parent dies.
    """
    for line in sys.stdin.buffer:
        draw_class(Path(root), tuple(json.loads(line)), int(seed), int(px))
        sys.stdout.buffer.write(b".")
        sys.stdout.buffer.flush()

"""How many pictures `udonx serve` answers per second, and how long one waits.

The command serves an index of random photos on this machine; so many clients each post one picture
after the other to /search, for a number of seconds. They share the cores with the server. Printed
are requests per second, the median and the 99th percentile of the waiting time, and how many
pictures were embedded at once. The same pictures one after the other, from one client, are beside
it.

    python benchmarks/serve.py                                 # a minute
    python benchmarks/serve.py --seconds 3 --images 200        # to see that it runs
    python benchmarks/serve.py --model vit_small_patch16_224 --device cuda --images 100000
"""

from __future__ import annotations

import argparse
import io
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

import udonx
from udonx.search.index import Index
from udonx.search.vectors import Vectors

_K = 10
_PICTURES = 64  # different ones that clients send


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo:main")
    parser.add_argument("--images", type=int, default=100_000, help="vectors of the index")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def write_index(folder: Path, options: argparse.Namespace) -> None:
    """Random vectors of the model: what is searched costs the same, whatever the images are."""
    identity = udonx.load_model(options.model).identity()
    rng = np.random.default_rng(0)
    vectors_ND = rng.standard_normal((options.images, identity.dim), dtype=np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    paths = [f"{number % 8}/{number:07}.jpg" for number in range(options.images)]
    Index(Vectors(vectors=vectors_ND, paths=paths, model=identity, root=folder)).save(folder)


def pictures() -> list[bytes]:
    """Smooth random JPEGs of 500 x 375 pixels."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(_PICTURES):
        coarse = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        content = io.BytesIO()
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(content, "JPEG")
        made.append(content.getvalue())
    return made


@contextmanager
def served(folder: Path, device: str) -> Iterator[str]:
    """The address of a server of an index; what it says at its end is printed."""
    code = "import sys; from udonx.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "serve", str(folder), "--port", "0", "--device", device]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        found = re.search(r"http://\S+:\d+", line)
        if found is None:
            raise SystemExit(line + server.stderr.read())
        try:
            yield found[0]
        finally:
            server.send_signal(signal.SIGINT)
            print(server.stderr.read().strip())


def measure(address: str, clients: int, seconds: float, contents: list[bytes]) -> str:
    """What so many clients get, each sending its next picture when the last was answered."""
    end = time.monotonic() + seconds

    def ask(client: int) -> list[float]:
        waited = []
        with httpx.Client(base_url=address, timeout=60) as connection:
            while time.monotonic() < end:
                began = time.perf_counter()
                content = contents[(client + len(waited)) % len(contents)]
                connection.post("/search", params={"k": _K}, content=content).raise_for_status()
                waited.append(time.perf_counter() - began)
        return waited

    began = time.monotonic()
    with ThreadPoolExecutor(clients) as threads:
        waited = [each for found in threads.map(ask, range(clients)) for each in found]
    rate = len(waited) / (time.monotonic() - began)
    p50, p99 = np.quantile(waited, [0.5, 0.99]) * 1000
    return (
        f"{clients:3} clients: {rate:6.1f} requests/s; waiting median {p50:.0f} ms, p99"
        f" {p99:.0f} ms; {len(waited)} requests"
    )


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder, contents = Path(scratch, "index"), pictures()
        write_index(folder, options)
        print(f"{options.model}, {options.images:,} vectors, k = {_K}, {options.device}")
        with served(folder, options.device) as address:
            measure(address, 1, 1, contents)  # to warm up
            for clients in (1, options.clients):
                print(measure(address, clients, options.seconds, contents), flush=True)


if __name__ == "__main__":
    main()

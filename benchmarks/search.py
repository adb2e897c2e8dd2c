"""Queries per second of `udonx.Index` beside plain faiss: `python benchmarks/search.py`.

`--kind hnsw` or `--kind ivfpq` for an approximate index.

100,000 unit vectors of 64 dimensions around 5,000 centres, 1,000 queries of the same kind, ten
neighbours each. faiss's IndexFlatIP and the index are asked in turn, several rounds; the figures
are medians, the ratio is taken within each round. Both use the threads that faiss finds
(OMP_NUM_THREADS).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from udonx.common.faiss_after_torch import faiss
from udonx.search.index import Index
from udonx.search.vectors import ModelIdentity, Vectors

DIM, CENTRES, K = 64, 5000, 10


def unit_vectors(count: int, seed: int) -> np.ndarray:
    """Vectors around centres that are the same for every seed, float32 [count, DIM]."""
    centres = np.random.default_rng(0).standard_normal((CENTRES, DIM), dtype=np.float32)
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, CENTRES, count)]
    vectors += 0.7 * rng.standard_normal((count, DIM), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def seconds(search: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    search()
    return time.perf_counter() - began


def main() -> None:
    """Build the index, then time both in turn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=("exact", "hnsw", "ivfpq"), default="exact")
    parser.add_argument("--count", type=int, default=100_000, help="vectors (default 100,000)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (default 7)")
    options = parser.parse_args()
    vectors_ND, queries_QD = unit_vectors(options.count, 1), unit_vectors(1000, 2)
    plain = faiss.IndexFlatIP(DIM)
    plain.add(vectors_ND)
    model = ModelIdentity(id="random", weights="none", branch="student", dim=DIM)
    paths = [f"{row}.jpg" for row in range(options.count)]
    vectors = Vectors(vectors=vectors_ND, paths=paths, model=model, root=Path("/"))
    began = time.perf_counter()
    index = Index.build(vectors, options.kind)
    print(f"{index}, built in {time.perf_counter() - began:.1f} s; {index.recall or 'exact'}")
    for count in (len(queries_QD), 1):
        queries_BD = queries_QD[:count]
        timed = [
            (
                seconds(lambda: plain.search(queries_BD, K)),  # noqa: B023
                seconds(lambda: index.search(queries_BD, K)),  # noqa: B023
            )
            for _ in range(options.rounds + 1)
        ][1:]
        flat, ours = (count / statistics.median(each) for each in zip(*timed, strict=True))
        low, ratio, high = statistics.quantiles([one / other for one, other in timed], n=4)
        print(
            f"{count:5} queries a call: faiss {flat:,.0f}/s, index {ours:,.0f}/s,"
            f" ratio {ratio:.2f} ({low:.2f}-{high:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Peak memory of the merged search, as a multiple of the index's bytes: `python
benchmarks/search_memory.py [--gigabytes 0.3]`.

Random unit vectors, in which no two are equal, or one is there twice: a second matrix holds the
distinct vectors then.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from udonx.evaluation.metrics import retrieval_metrics

WIDTH, QUERIES = 768, 1000


def peak_bytes() -> int:
    """The most memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(gigabytes: float, repeats: bool) -> str:
    """Search 1,000 queries in an index of so many bytes; one line of figures. To be called once per
    process: a peak never falls.
    """
    rng = np.random.default_rng(0)
    index_ND = np.empty((int(gigabytes * 1e9 / 4 / WIDTH), WIDTH), dtype=np.float32)
    for start in range(0, len(index_ND), 1000):
        part_BD = rng.standard_normal(
            (len(index_ND[start : start + 1000]), WIDTH), dtype=np.float32
        )
        index_ND[start : start + 1000] = part_BD / np.linalg.norm(part_BD, axis=1, keepdims=True)
    if repeats:
        index_ND[-1] = index_ND[0]
    ids = np.arange(len(index_ND))
    labels, domains = ids % 1000, ids % 8
    query = slice(0, QUERIES)
    before, began = peak_bytes() - index_ND.nbytes, time.monotonic()
    retrieval_metrics(
        index_ND[query],
        labels[query],
        domains[query],
        index_ND,
        labels,
        domains,
        query_ids=ids[query],
        index_ids=ids,
    )
    times = (peak_bytes() - before) / index_ND.nbytes
    what = "one vector twice" if repeats else "no two equal   "
    return (
        f"{len(index_ND):,} x {WIDTH} float32, {what}: peak {times:.2f} times the index's bytes,"
        f" {time.monotonic() - began:.1f} s"
    )


def main() -> None:
    """Measure each case in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--gigabytes", type=float, default=0.3, help="size of the index (default 0.3)"
    )
    parser.add_argument("--case", choices=("unique", "repeats"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(measure(options.gigabytes, options.case == "repeats"), flush=True)
        return
    for case in ("unique", "repeats"):
        subprocess.run(
            [sys.executable, __file__, "--gigabytes", str(options.gigabytes), "--case", case],
            check=True,
        )


if __name__ == "__main__":
    main()

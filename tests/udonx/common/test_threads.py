"""Work in threads, in order."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from udonx.common.threads import in_threads


@pytest.mark.parametrize(("workers", "chunk"), [(1, 1), (3, 4), (8, 100)])
def test_results_come_in_order(workers: int, chunk: int) -> None:
    """Every item's result comes once and in order, whatever is quicker, in chunks of the asked
    size.
    """

    def slow_first(item: int) -> int:
        time.sleep(0.01 if item % 7 == 0 else 0)
        return -item

    chunks = list(in_threads(slow_first, range(30), workers, chunk=chunk))
    assert [result for part in chunks for result in part] == [-item for item in range(30)]
    assert {len(part) for part in chunks[:-1]} <= {chunk}


@pytest.mark.parametrize("ending", ["left", "error"])
def test_nothing_is_begun_after_the_end(ending: str) -> None:
    """Leaving the loop, or an error in a thread, begins no further item, not even within a chunk,
    and leaves no thread.
    """
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.005)
        if ending == "error" and item == 2:
            raise ValueError("item 2")
        return item

    loop = in_threads(work, range(10_000), 2, chunk=1 if ending == "left" else 3, name="udonx-test")
    with closing(loop):
        if ending == "left":
            next(loop)
        else:
            with pytest.raises(ValueError, match="item 2"):
                list(loop)
    assert len(begun) < 40
    assert not any(thread.name.startswith("udonx-test") for thread in threading.enumerate())


def test_a_chunk_is_left_amid() -> None:
    """A chunk that another thread works on is left at its next item."""
    begun = []

    def work(item: int) -> int:
        if item == 0:
            raise KeyboardInterrupt
        begun.append(item)
        time.sleep(0.005)
        return item

    with pytest.raises(KeyboardInterrupt):
        list(in_threads(work, range(10_000), 2, chunk=5_000))
    assert len(begun) < 100

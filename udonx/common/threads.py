"""Work on many items in threads, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar, overload

Item = TypeVar("Item")
Value = TypeVar("Value")
Result = TypeVar("Result")


@overload
def in_threads(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    workers: int,
    *,
    chunk: int,
    name: str = ...,
) -> Generator[list[Value]]: ...
@overload
def in_threads(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    workers: int,
    *,
    chunk: int,
    whole: Callable[[list[Value]], Result],
    name: str = ...,
) -> Generator[Result]: ...
def in_threads(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    workers: int,
    *,
    chunk: int,
    whole: Callable[[list[Any]], Any] = list,
    name: str = "udonx-load",
) -> Generator[Any]:
    """Yield `whole` of the results of every `chunk` items, in order.

    Up to `workers + 1` chunks are computed ahead.

    Close it (`contextlib.closing`) where the loop may end early: whatever ends it, an error or
    Ctrl-C, no further item is begun.

    >>> list(in_threads(abs, [-1, -2, -3], 2, chunk=2))
    [[1, 2], [3]]
    """
    stopped = threading.Event()

    def work(start: int) -> Any:
        results = []
        for item in items[start : start + chunk]:
            if stopped.is_set():
                return None  # nobody waits for it any more
            results.append(function(item))
        return whole(results)

    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    try:
        starts = iter(range(0, len(items), chunk))
        ahead = deque(pool.submit(work, start) for start in islice(starts, workers + 1))
        while ahead:
            result = ahead.popleft().result()
            if (start := next(starts, None)) is not None:
                ahead.append(pool.submit(work, start))
            yield result
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)

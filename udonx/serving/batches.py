"""Gathers what concurrent requests ask for, and works on it at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Hands items to a function, several at once, in one thread of its own.

    Nothing waits for company: an item that comes alone is worked on at once, and what comes
    meanwhile is the next batch. All methods belong to one event loop.

    Args:
        work: gives the answers to some items, in their order.
        size: at most so many items at once.

    Attributes:
        batches: how many there were.
        items: how many were in them.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Answer]], size: int) -> None:
        self.batches = self.items = 0
        self._work, self._size = work, size
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="udonx-serve")
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        """The answer to an item.

        Raises:
            Exception: what `work` raised over the batch that the item was in.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            items = [item for item, _ in batch]
            self.batches, self.items = self.batches + 1, self.items + len(items)
            try:
                answers = await loop.run_in_executor(self._thread, self._work, items)
            except Exception as error:  # each request is told
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), found in zip(batch, answers, strict=True):
                if not answer.done():
                    answer.set_result(found)

    def _next(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        """The next batch, without those whose request has given up."""
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self._size:
            item, answer = self._waiting.popleft()
            if not answer.done():
                batch.append((item, answer))
        return batch

    def close(self) -> None:
        """End the thread when its batch is done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

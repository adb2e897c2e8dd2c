"""Counts requests, and how fast they were answered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from udonx.common.words import plural


@attrs.define
class Traffic:
    """What was asked of a server.

    Attributes:
        answered: requests with a picture that were answered.
        refused: requests that were not.
        under_way: requests with a picture that are being worked on.
        busy_seconds: the time in which there was one, up to the last that ended.
    """

    answered: int = 0
    refused: int = 0
    under_way: int = 0
    busy_seconds: float = 0.0
    _since: float = 0.0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Within, a request is under way."""
        if self.under_way == 0:
            self._since = time.monotonic()
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
            if self.under_way == 0:
                self.busy_seconds += time.monotonic() - self._since

    def __str__(self) -> str:
        text = f"answered {plural(self.answered, 'picture')}"
        if self.answered and self.busy_seconds:
            text += f", {self.answered / self.busy_seconds:.1f} per second while there were any"
        return text + (f"; refused {plural(self.refused, 'request')}" if self.refused else "")

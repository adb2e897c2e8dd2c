"""How long a piece of work has taken."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds that a piece of work has taken, over all processes that did a part of it.

    Args:
        before: seconds that earlier processes took.
    """

    def __init__(self, before: float = 0.0) -> None:
        self._before, self._began = before, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds up to now."""
        return self._before + time.monotonic() - self._began

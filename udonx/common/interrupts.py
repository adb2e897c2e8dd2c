"""SIGINT and SIGTERM.

What is under way is brought to a good end first where it can be, and the exit status says which of
them it was.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = "stopped; the same command continues from the last checkpoint"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# handlers that this module has set and not taken back
_ours: set[Callable[[int, FrameType | None], None]] = set()


class Stopped(KeyboardInterrupt, SystemExit):
    """SIGINT or SIGTERM has stopped a run; what was earned is kept, and the same call continues.

    It is a KeyboardInterrupt, so `except Exception` lets it pass, and a SystemExit, so a program
    that does not catch it ends with the status that shells give to the signal: 130 for SIGINT, 143
    for SIGTERM.

    Attributes:
        code: the exit status.
    """

    def __init__(
        self,
        number: int,
        sentence: str = STOPPED,
    ) -> None:
        super().__init__(sentence)
        self.code = 128 + number


class StopRequest:
    """Whether a signal has come while `deferred` was in force; `signal` is its number."""

    signal: int | None = None


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, SIGINT and SIGTERM raise Stopped in the main thread, wherever it is."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handled_by(handle):
        yield


@contextmanager
def deferred() -> Iterator[StopRequest]:
    """Within, the first SIGINT or SIGTERM is only noted; a second one raises Stopped at once.

    The body looks at the note when it suits it.

    Raises:
        Stopped: at the end, where a signal was noted and the body did nothing about it, or failed.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if request.signal is not None:
            raise Stopped(number)
        request.signal = number

    try:
        with _handled_by(handle):
            yield request
    except Exception as error:
        if request.signal is not None:
            raise Stopped(request.signal) from error
        raise
    if request.signal is not None:
        raise Stopped(request.signal)


@contextmanager
def _handled_by(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Set a handler, and put the old ones back.

    A signal that is ignored (nohup, a shell's background job) stays ignored, and a handler of the
    caller's stays in place. Outside the main thread Python allows no handler: there nothing
    changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = {signal.SIG_DFL, signal.default_int_handler} | _ours
    before = {number: old for number in _SIGNALS if (old := signal.getsignal(number)) in usual}
    _ours.add(handle)
    try:
        for number in before:
            signal.signal(number, handle)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        _ours.discard(handle)

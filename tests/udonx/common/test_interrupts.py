"""SIGINT and SIGTERM, sent to the test's own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.tiny import ROOT
from udonx.common.interrupts import Stopped, deferred, stoppable

HANDLED = (signal.SIGINT, signal.SIGTERM)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in HANDLED]


@pytest.mark.parametrize("number", HANDLED)
def test_stoppable(number: int) -> None:
    """A signal raises Stopped where the program is, with the status that a shell gives to it, and
    the old handlers come back.
    """
    before = handlers()
    with pytest.raises(Stopped) as caught, stoppable():
        os.kill(os.getpid(), number)
    assert caught.value.code == 128 + number and handlers() == before


@pytest.mark.parametrize("number", HANDLED)
def test_deferred(number: int) -> None:
    """The first signal waits for the body, the second does not."""
    seen = []
    with stoppable(), pytest.raises(Stopped), deferred() as request:
        os.kill(os.getpid(), number)
        seen.append(request.signal)
        os.kill(os.getpid(), number)
        seen.append("after the second")
    assert seen == [number]


@pytest.mark.parametrize("body", ["ends", "fails"])
def test_a_signal_is_never_lost(body: str) -> None:
    """A body that ends, or fails, without having looked at a signal is stopped at its end."""
    with pytest.raises(Stopped), deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        if body == "fails":
            raise ValueError


def test_what_others_have_set_stays() -> None:
    """A signal that is ignored, as under nohup, stays ignored, a handler of the caller's is called,
    and another thread changes nothing.
    """
    called = []
    before = [
        signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.signal(signal.SIGTERM, lambda *_: called.append(True)),
    ]
    try:
        with stoppable(), deferred() as request:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        assert called == [True] and request.signal is None
    finally:
        for number, old in zip(HANDLED, before, strict=True):
            signal.signal(number, old)
    inside: list[list[object]] = []

    def elsewhere() -> None:
        with stoppable(), deferred():
            inside.append(handlers())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert inside == [handlers()]


@pytest.mark.parametrize("number", HANDLED)
def test_a_program_that_does_not_catch_it_ends_with_the_status_of_the_signal(number: int) -> None:
    """A script that calls udonx and is stopped ends with 130 or 143 and no traceback."""
    code = (
        "import os; from udonx.common.interrupts import stoppable\nwith stoppable():"
        f" os.kill(os.getpid(), {int(number)})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (128 + number, "")

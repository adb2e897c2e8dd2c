"""The lock of a stage, between processes."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from tests.tiny import ROOT
from udonx.store.lock import StageLock

HOLD = (
    "import sys\nfrom pathlib import Path\nfrom udonx.store.lock import StageLock\nlock ="
    " StageLock(Path(sys.argv[1]))\n"
)
HOLD += "print(lock.acquire(), flush=True)\nsys.stdin.read()\n"


def test_a_lock_of_another_process_is_refused_named_and_dies_with_it(tmp_path):
    """While another process holds a stage its lock is refused and its holder known; when it is
    killed the lock is free, nothing stale.
    """
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline().strip() == "True"
        with StageLock(tmp_path) as lock:
            assert lock.acquire() is False
            assert lock.holder().startswith(f"process {other.pid} on ")
        other.kill()
        other.wait()
        with StageLock(tmp_path) as lock:
            assert lock.acquire() is True


def test_a_released_lock_can_be_taken_again(tmp_path):
    """The context manager gives the lock back."""
    with StageLock(tmp_path) as lock:
        assert lock.acquire()
        assert not StageLock(tmp_path).acquire()
    with StageLock(tmp_path) as again:
        assert again.acquire()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, number):
    """Some network disks have none; a run goes on, alone."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        StageLock(tmp_path / "stage") as lock,
        pytest.warns(UserWarning, match="one udonx command at a time"),
    ):
        assert lock.acquire()


def test_another_error_of_the_lock_goes_up(tmp_path, monkeypatch):
    """A broken disk is no missing feature."""

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with StageLock(tmp_path / "stage") as lock, pytest.raises(OSError, match="Input/output"):
        lock.acquire()

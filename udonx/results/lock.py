"""A kernel lock per stage: it dies with its process, so nothing stale is ever left behind."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO


class StageLock:
    """`flock` on a file in the stage's folder. Use `acquire()`, which does not wait, and `release()`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        self._handle: IO[str] | None = None

    def acquire(self) -> bool:
        """Take the lock and write down who holds it; False where another process has it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(self.path, "a+")  # noqa: SIM115  the lock lasts as long as the file is open
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return False
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}")
        handle.flush()
        self._handle = handle
        return True

    def holder(self) -> str:
        """Who holds the lock, in words."""
        return self.path.read_text() if self.path.exists() else "nobody"

    def release(self) -> None:
        """Give the lock back."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __enter__(self) -> StageLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

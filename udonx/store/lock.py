"""A kernel lock per stage: it dies with its process, so nothing stale is ever left behind."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import warnings
from pathlib import Path
from typing import IO

POLL_SECONDS = 2.0
"""After so long a lock that another process holds is tried again."""

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
"""What `flock` gives on a file system that has no locks (some network and user-space ones)."""


class StageLock:
    """`flock` on a file in the stage's folder.

    Use `acquire()`, which does not wait, and `release()`.

    Whoever trains or removes a stage holds it alone. Those who read a finished one share it
    (`shared`), so that nobody removes it meanwhile.

    On a file system without locks it is always free, and a warning says that two commands may then
    train the same stage.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self.path = folder / "lock"
        self.kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._handle: IO[str] | None = None

    def acquire(self) -> bool:
        """Take the lock and write down who holds it; False where another process has it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(self.path, "a+")  # noqa: SIM115  the lock lasts as long as the file is open
        try:
            fcntl.flock(handle, self.kind | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                handle.close()
                raise
            where = self.path.parent.parent
            reason = f"{where} is on a file system without locks ({os.strerror(error.errno)})"
            warnings.warn(
                f"{reason}: give only one udonx command at a time with this results folder",
                stacklevel=2,
            )
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


def holder_of(folder: Path) -> str | None:
    """Who holds the lock of a stage's folder, alone or shared, in words; None where nobody does.

    Nothing is written, so the folder may be one that cannot be written.
    """
    try:
        with open(folder / "lock") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return handle.read() or "another process"
    except OSError:  # there is no lock, or the file system has none
        pass
    return None

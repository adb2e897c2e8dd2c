"""Files that are written whole or not at all, and read without surprises."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from udonx.common.errors import UdonxError

_FULL = 2**20  # a disk with less than this many bytes free counts as full


class DamagedFileError(UdonxError, ValueError):
    """A stored file that is not what was written.

    Attributes:
        path: the file.
        why: what is wrong with it, in a few words.
    """

    def __init__(self, path: Path | str, why: str, cure: str = "") -> None:
        self.path, self.why = Path(path), why
        super().__init__(f"{path} {why}{'; ' + cure if cure else ''}")


# --------------------------------------------------------------------------------------- writing


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`.

    On success it is synced and renamed to `path`, on failure removed.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_path(target) as temporary: _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    with scratch_folder(path) as folder:
        temporary = folder / "file"
        temporary.touch()
        # some writers replace the file by one that only its owner can read
        mode = temporary.stat().st_mode
        try:
            yield temporary
        except (
            Exception
        ) as error:  # torch and safetensors report a full disk in words and classes of their own
            if shutil.disk_usage(path.parent).free < _FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
            if isinstance(error, OSError) and error.filename is None and error.errno is not None:
                raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
            raise
        with naming(path):
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            temporary.chmod(stat.S_IMODE(mode))
            os.replace(temporary, path)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new, empty folder beside `path`.

    On success it is renamed to `path`, on failure removed with all that it holds.

    `path` must not exist, or be an empty folder. Links in the folder are removed, never what they
    lead to.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a"
    >>> with atomic_folder(target) as temporary: _ = (temporary / "b.txt").write_text("whole")
    >>> [file.name for file in target.parent.rglob("*")]
    ['a', 'b.txt']
    """
    path = Path(path)
    with scratch_folder(path) as scratch:
        temporary = scratch / "folder"
        temporary.mkdir()
        yield temporary
        os.replace(temporary, path)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path` through a temporary name, fsync and rename.

    A reader sees the old file or the new one, never a part.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` with a name of its own, for what becomes `path`.

    It is gone afterwards with whatever is left in it.

    It is locked as long as its process lives, so that `sweep` can tell what a killed process left
    behind.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = path.parent / f".{secrets.token_hex(8)}.tmp"
        folder.mkdir()
    lock = os.open(folder, os.O_RDONLY)
    try:
        # a file system without locks: nothing is ever swept there
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the system names the file that a person knows, not the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def sweep(root: Path) -> None:
    """Remove what killed processes left below `root` while they wrote.

    What a living process is writing stays.
    """
    for parent, folders, _ in os.walk(root):  # which passes over what vanishes meanwhile
        for name in [name for name in folders if name.startswith(".") and name.endswith(".tmp")]:
            folders.remove(name)
            # a link, or taken by another process, or swept by one
            with contextlib.suppress(OSError):
                lock = os.open(Path(parent, name), os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(Path(parent, name), ignore_errors=True)
                finally:
                    os.close(lock)


def folder_problem(path: Path, *, written: bool = True) -> str | None:
    """Why a folder cannot be made or used, in one sentence; None where it can be.

    What is missing above it is made when it is needed.

    Args:
        path: the folder.
        written: whether something will be written into it.

    >>> folder_problem(Path("/dev/null/results"))
    '/dev/null is no folder; give another one'
    """
    path = Path(os.path.abspath(path))
    for folder in (path, *path.parents):
        try:
            mode = folder.stat().st_mode
        except FileNotFoundError:
            if folder.is_symlink():
                return f"{folder} is a link that leads nowhere; remove it, or give another folder"
            continue
        except NotADirectoryError:  # one of those above says which
            continue
        except OSError as error:
            why = error.strerror or error
            return f"{folder} cannot be used: {why}; give another folder"
        if not stat.S_ISDIR(mode):
            return f"{folder} is no folder; give another one"
        if written and not os.access(folder, os.W_OK | os.X_OK):
            return f"{folder} cannot be written by you; give another folder, or yourself the right"
        return None
    return None


# --------------------------------------------------------------------------------------- reading


@contextlib.contextmanager
def open_regular(path: Path | str) -> Iterator[BinaryIO]:
    """Open a regular file for reading.

    Anything else that stands there is refused, and a pipe is never waited for.

    Raises:
        DamagedFileError: something else than a file is there.
        OSError: it is not there, or cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise DamagedFileError(path, "is no regular file")
        with open(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def read_bytes(path: Path | str) -> bytes:
    """The content of a regular file; see `open_regular`."""
    with open_regular(path) as file:
        return file.read()


# ---------------------------------------------------------------------------------------- caches


def sha256_file(path: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

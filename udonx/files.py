"""Files written whole or not at all, and where caches live."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

_FULL = 2**20  # a disk with less than this many bytes free counts as full


@contextlib.contextmanager
def atomic_path(path: Path):
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, on failure removed.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_path(target) as temporary: _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            yield temporary
        except (RuntimeError, OSError, ValueError) as error:
            # torch and safetensors report a full disk in words of their own
            if shutil.disk_usage(path.parent).free < _FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
            raise
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(0o666 & ~_umask())  # some writers make files that only their owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path):
    """Yield a new, empty folder beside `path`; on success it is renamed to `path`, on failure removed with all that it holds.

    `path` must not exist, or be an empty folder. Links in the folder are removed, never what they lead to.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a"
    >>> with atomic_folder(target) as temporary: _ = (temporary / "b.txt").write_text("whole")
    >>> [file.name for file in target.parent.rglob("*")]
    ['a', 'b.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        temporary.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path` through a temporary name, fsync and rename: a reader sees the old file or the new one, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def cache_dir() -> Path | None:
    """The folder for caches (`UDONX_CACHE`, else `$XDG_CACHE_HOME/udonx`, else `~/.cache/udonx`); None where it cannot be written."""
    named = os.environ.get("UDONX_CACHE")
    folder = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "udonx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            return folder
    except OSError:  # an unwritable cache means no cache, not an error: everything can be computed again
        return None


def sha256_file(path: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

"""Files written whole or not at all, read back only as what was written, and where caches live."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import cattrs

from udonx.common.errors import UdonxError

T = TypeVar("T")

_FULL = 2**20  # a disk with less than this many bytes free counts as full
# the key that holds the digest of everything else in a JSON file, or in a line of one
_DIGEST = "digest"
# what json raises: a number of thousands of digits is a ValueError too
_JSON_ERRORS = (ValueError, RecursionError)
_converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)


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
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, on
    failure removed.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_path(target) as temporary: _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    with _scratch(path) as folder:
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
        with _naming(path):
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            temporary.chmod(stat.S_IMODE(mode))
            os.replace(temporary, path)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new, empty folder beside `path`; on success it is renamed to `path`, on failure
    removed with all that it holds.

    `path` must not exist, or be an empty folder. Links in the folder are removed, never what they
    lead to.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a"
    >>> with atomic_folder(target) as temporary: _ = (temporary / "b.txt").write_text("whole")
    >>> [file.name for file in target.parent.rglob("*")]
    ['a', 'b.txt']
    """
    path = Path(path)
    with _scratch(path) as scratch:
        temporary = scratch / "folder"
        temporary.mkdir()
        yield temporary
        os.replace(temporary, path)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path` through a temporary name, fsync and rename: a reader sees the old file
    or the new one, never a part.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A folder beside `path` with a name of its own, for what becomes `path`; gone afterwards with
    whatever is left in it.

    It is locked as long as its process lives, so that `sweep` can tell what a killed process left
    behind.
    """
    with _naming(path):
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
def _naming(path: Path) -> Iterator[None]:
    """An error of the system names the file that a person knows, not the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def sweep(root: Path) -> None:
    """Remove what killed processes left below `root` while they wrote; what a living process is
    writing stays.
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


def folder_problem(path: Path) -> str | None:
    """Why a folder cannot be made or used, in one sentence; None where it can be. What is missing
    above it is made when it is needed.

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
        return None if stat.S_ISDIR(mode) else f"{folder} is no folder; give another one"
    return None


# --------------------------------------------------------------------------------------- reading


@contextlib.contextmanager
def open_regular(path: Path | str) -> Iterator[BinaryIO]:
    """Open a regular file for reading; anything else that stands there is refused, and a pipe is
    never waited for.

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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a table of plain data with a digest of it, for `read_json`."""
    write_atomic(path, json.dumps({**content, _DIGEST: _sha256(content)}, indent=1))


def read_json(
    path: Path,
    kind: type[T],
    cure: str = "",
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] = lambda content: content,
) -> T:
    """Read what `write_json` wrote, as `kind`: an attrs class, or `dict[str, ...]`.

    Args:
        path: the file. One without a digest, written by an earlier version, is believed if it has
            exactly the keys of `kind`.
        kind: what it holds; unknown keys are refused.
        cure: the end of the sentence for a damaged file: what makes it again.
        upgrade: makes the content of a file of another layout one that `kind` has.

    Raises:
        DamagedFileError: it is no such file, whatever is wrong with it.
        OSError: it is not there, or cannot be read.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_json(file, {"r1": 0.5})
    >>> read_json(file, dict[str, float])
    {'r1': 0.5}
    """
    try:
        content = _checked(json.loads(read_bytes(path)), _sha256)
    except DamagedFileError as error:
        raise DamagedFileError(path, error.why, cure) from None
    except _JSON_ERRORS as error:
        raise DamagedFileError(path, f"is no valid JSON ({type(error).__name__})", cure) from None
    try:
        return _converter.structure(upgrade(content), kind)
    except Exception as error:  # cattrs raises what the classes and converters that it calls raise
        raise DamagedFileError(path, "does not hold what was written", cure) from error


def append_json_line(path: Path, entry: dict[str, Any]) -> None:
    """Append one entry with its checksum to a JSONL file, in the place of half a line that a killed
    process left at its end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({**entry, _DIGEST: _crc32(entry)}) + "\n"
    with open(path, "ab+") as handle:
        end = handle.seek(0, os.SEEK_END)
        if end:
            handle.seek(-1, os.SEEK_END)
            if handle.read(1) != b"\n":
                handle.seek(0)
                handle.truncate(handle.read().rfind(b"\n") + 1)
        handle.write(line.encode())


def read_json_lines(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """The entries of a JSONL file, and the numbers (from 1) of the lines that are damaged.

    No file is an empty one; an unterminated last line, of a process that was killed while it wrote,
    is no damage and left out.

    Raises:
        DamagedFileError: something else than a file is there.
    """
    entries, damaged = [], []
    try:
        lines = read_bytes(path).split(b"\n")[:-1]
    except FileNotFoundError:
        return [], []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(_checked(json.loads(line), _crc32))
        except _JSON_ERRORS:  # DamagedFileError is a ValueError
            damaged.append(number)
    return entries, damaged


def _checked(content: Any, digest: Any) -> dict[str, Any]:
    """A table without its digest. Raises DamagedFileError."""
    if not isinstance(content, dict):
        raise DamagedFileError(Path(), "does not hold what was written")
    rest = {key: value for key, value in content.items() if key != _DIGEST}
    if _DIGEST in content and content[_DIGEST] != digest(rest):
        raise DamagedFileError(Path(), "is damaged: its content and its digest do not fit together")
    return rest


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _sha256(content: Any) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()


def _crc32(content: Any) -> str:
    return f"{zlib.crc32(_canonical(content)):08x}"


def sha256_file(path: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# ---------------------------------------------------------------------------------------- caches


def cache_path() -> Path | None:
    """The folder for caches (`UDONX_CACHE`, else `$XDG_CACHE_HOME/udonx`, else `~/.cache/udonx`),
    whether or not it is there; None for a user without a home.
    """
    if named := os.environ.get("UDONX_CACHE"):
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "udonx"
    except RuntimeError:
        return None


def cache_dir() -> Path | None:
    """`cache_path()`, made if it is not there; None where it cannot be written: nothing needs a
    cache.
    """
    if (folder := cache_path()) is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


class JsonCache(Generic[T]):
    """Plain data that is kept between calls as one JSON file of the cache folder.

    A file that is missing, damaged or of another form reads as empty; one that cannot be written is
    not an error.
    """

    def __init__(self, name: str, kind: type[T]) -> None:
        self.name, self.kind = name, kind

    def read(self) -> T:
        """What is kept, as `kind`; `kind()` where there is nothing."""
        folder = cache_dir()
        try:
            return read_json(folder / self.name, self.kind) if folder else self.kind()
        except (DamagedFileError, OSError):
            return self.kind()

    def write(self, content: dict[str, Any]) -> None:
        """Keep `content` in place of what was kept."""
        if folder := cache_dir():
            with contextlib.suppress(OSError):
                write_json(folder / self.name, content)


_hashes = JsonCache("weights.json", dict[str, str])


def cached_sha256(path: Path) -> str:
    """`sha256_file`, kept between calls for as long as the file's size and time of change are the
    same.
    """
    stat = path.stat()
    key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    known = _hashes.read()
    if key not in known:
        known[key] = sha256_file(path)
        _hashes.write(known)
    return known[key]

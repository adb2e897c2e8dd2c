"""Where caches live, and JSON files in them that may be lost at any time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, Generic, TypeVar

from udonx.common.files import DamagedFileError, sha256_file
from udonx.common.json_files import read_json, write_json

T = TypeVar("T")


def cache_path() -> Path | None:
    """The folder for caches, whether or not it is there; None for a user without a home.

    It is `UDONX_CACHE`, else `$XDG_CACHE_HOME/udonx`, else `~/.cache/udonx`.
    """
    if named := os.environ.get("UDONX_CACHE"):
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "udonx"
    except RuntimeError:
        return None


def cache_dir() -> Path | None:
    """The folder of `cache_path()`, made if it is not there.

    It is None where it cannot be written: nothing needs a cache.
    """
    if (folder := cache_path()) is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def cache_problem() -> str:
    """Why `cache_dir()` is None, and what to do, as the end of a sentence."""
    folder = cache_path()
    if folder is None:
        return "there is no home folder: set UDONX_CACHE to a folder that can be written"
    is_file = folder.is_file()
    what = f"{folder} {'is a file' if is_file else 'cannot be written'}"
    return f"{what}: set UDONX_CACHE to a folder that can be written"


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
    """The result of `sha256_file`, kept between calls.

    It is kept for as long as the file's size and time of change are the same.
    """
    stat = path.stat()
    key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    known = _hashes.read()
    if key not in known:
        known[key] = sha256_file(path)
        _hashes.write(known)
    return known[key]

"""JSON that is read back only as what was written: typed, and with a digest."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cattrs

from udonx.common.files import DamagedFileError, read_bytes, write_atomic

T = TypeVar("T")

# the key that holds the digest of everything else in a JSON file, or in a line of one
_DIGEST = "digest"
# what json raises: a number of thousands of digits is a ValueError too
_JSON_ERRORS = (ValueError, RecursionError)
_converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)


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
    """Append one entry with its checksum to a JSONL file.

    It takes the place of half a line that a killed process left at its end.
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
    """A table without its digest.

    Raises:
        DamagedFileError: it is no such file, or damaged.
    """
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

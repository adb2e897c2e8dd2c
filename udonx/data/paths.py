"""Finds an image whose name was written differently by the program that unpacked the archive."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from udonx.data.errors import DataError

_ESCAPE = re.compile(r"#U([0-9a-fA-F]{4})|#L([0-9a-fA-F]{6})")


def resolve_image(root: Path | str, path: str) -> Path:
    """Return the existing file of an image, whatever form its non-ASCII characters took on disk.

    RP2K's Chinese names lie on disk as they are, in another Unicode normal form (NFC or NFD), or as unzip without a UTF-8 locale
    writes them: `#U4e2d` (`#L01f600` beyond the first plane). The split file may hold any of these forms too.

    Args:
        root: the folder that holds `images`.
        path: as in a split file, relative to `root/images`.

    Raises:
        DataError: the image exists in no form.
    """
    images = Path(root) / "images"
    for form in _forms(path):
        if (images / form).is_file():
            return images / form
    raise DataError(f"{images / path} does not exist, nor does another spelling of its name: unpack the domain's images there.")


def _forms(path: str):
    """The spellings of a path, the one given first; lazily, for it is nearly always the right one."""
    yield path
    if path.isascii() and not _ESCAPE.search(path):
        return
    plain = _ESCAPE.sub(lambda match: chr(int(match[1] or match[2], 16)), path)
    for normal in (plain, unicodedata.normalize("NFC", plain), unicodedata.normalize("NFD", plain)):
        yield normal
        for digits in "xX":
            yield "".join(_escape(character, digits) for character in normal)


def _escape(character: str, digits: str) -> str:
    """One character as unzip writes it, with lower-case ("x") or upper-case ("X") hexadecimal digits.

    Example:
        >>> _escape("中", "x"), _escape("a", "x")
        ('#U4e2d', 'a')
    """
    code = ord(character)
    return character if code < 128 else f"#U{code:04{digits}}" if code < 0x10000 else f"#L{code:06{digits}}"

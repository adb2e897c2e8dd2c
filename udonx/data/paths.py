"""Finds an image whose name was written differently by what unpacked the archive.

It never looks outside its folder.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from udonx.data.errors import DataError

# unzip escapes characters beyond ASCII alone. An escaped "." or "/" is part of a name, never a way
# up.
_ESCAPE = re.compile(r"#U([0-9a-fA-F]{4})|#L(0[0-9a-fA-F]{5}|10[0-9a-fA-F]{4})")
_LONGEST_NAME = 255  # bytes, on all common file systems
# What the system says of a path at which there is no file; any other error (a disk that fails, no
# permission) is no answer.
NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}


def path_problem(path: str) -> str:
    r"""Why a path cannot be that of a file inside a folder, in a few words; "" where it can.

    A backslash is an ordinary character. Links are not followed: one that lies in the folder was
    made by its owner.

    Example:
        >>> path_problem("cars/a.jpg"), path_problem("../a.jpg"), path_problem("cars\\..\\a.jpg")
        ('', 'it leads out of the folder', '')
    """
    if (
        0 < len(path) <= _LONGEST_NAME
        and path.isascii()
        and path[0] != "/"
        and ".." not in path
        and "\0" not in path
    ):
        return ""  # nearly all of millions
    if not path:
        return "it is empty"
    if path.startswith("/") or ".." in path.split("/"):
        return "it leads out of the folder"
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        return "it holds a character that no file name can hold"
    if b"\0" in encoded:
        return "it holds a zero byte"
    if (longest := max(map(len, encoded.split(b"/")))) > _LONGEST_NAME:
        return f"a part of it is {longest} bytes long, and a file name has at most {_LONGEST_NAME}"
    return ""


def resolve_image(root: Path | str, path: str) -> Path:
    """Return the existing file of an image, whatever form its non-ASCII characters took on disk.

    RP2K's Chinese names lie on disk in one of three forms: as they are, in another Unicode normal
    form (NFC or NFD), or as unzip writes them. Without a UTF-8 locale, unzip writes `#U4e2d`
    (`#L01f600` beyond the first plane). The split file may hold any of these forms too.

    Args:
        root: the folder that holds `images`.
        path: as in a split file, relative to `root/images`.

    Raises:
        DataError: the image exists in no form inside `images`.
        OSError: the disk does not say whether it exists.
    """
    images = Path(root) / "images"
    for form in _forms(path):
        # Each spelling is checked after it is made, so that no way of making one can lead out.
        if not path_problem(form) and _is_file(images / form):
            return images / form
    if problem := path_problem(path):
        raise DataError(
            f"{str(images)!r} holds no image {path!r}: {problem}; correct the path in its split"
            " file."
        )
    raise DataError(
        f"{images / path} does not exist, nor does another spelling of its name: unpack the"
        " domain's images there."
    )


def _is_file(path: Path) -> bool:
    """Whether a regular file, or a link to one, is there.

    Raises:
        OSError: it cannot be known.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno in NOWHERE:
            return False
        raise


def _forms(path: str) -> Iterator[str]:
    """The spellings of a path, the one given first.

    They come lazily, for the first is nearly always the right one.
    """
    yield path
    if path.isascii() and not _ESCAPE.search(path):
        return
    plain = _ESCAPE.sub(_unescape, path)
    for normal in (plain, unicodedata.normalize("NFC", plain), unicodedata.normalize("NFD", plain)):
        yield normal
        for digits in "xX":
            yield "".join(_escape(character, digits) for character in normal)


def _unescape(match: re.Match[str]) -> str:
    code = int(match[1] or match[2], 16)
    return chr(code) if code >= 128 else match[0]


def _escape(character: str, digits: str) -> str:
    """One character as unzip writes it.

    Its hexadecimal digits are in lower case ("x") or upper case ("X").

    Example:
        >>> _escape("中", "x"), _escape("a", "x")
        ('#U4e2d', 'a')
    """
    code = ord(character)
    return (
        character
        if code < 128
        else f"#U{code:04{digits}}"
        if code < 0x10000
        else f"#L{code:06{digits}}"
    )

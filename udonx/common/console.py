"""What the command line says beside its result."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Progress goes to stderr, so that stdout holds the result alone."""
    print(line, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    r"""A text without characters that steer a terminal or break a line: each is spelt out.

    >>> printable("red \x1b[31m\n"), printable("Käse ±")
    ('red \\x1b[31m\\n', 'Käse ±')
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )

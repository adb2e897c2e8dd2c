"""The parent of every error that is meant for people."""

from __future__ import annotations

from typing import ClassVar

FAILED, REFUSED = 1, 2
"""Exit codes of a command: something failed on the way, what was earned is kept; the input is bad,
nothing was started. 0 is for done, 130 and 143 for a command that a signal stopped.
"""


class UdonxError(Exception):
    """Something that a person can mend; the message says where, what was got and what to do.

    Attributes:
        exit_code: what a command that ends with it exits with.
    """

    exit_code: ClassVar[int] = FAILED

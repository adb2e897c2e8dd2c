"""What the command line says beside its result."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Progress goes to stderr, so that stdout holds the result alone."""
    print(line, file=sys.stderr, flush=True)

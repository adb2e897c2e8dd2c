"""What goes wrong in training, in one sentence with the component and its line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from registry.registry import location
from udonx.common.errors import REFUSED, UdonxError, sentence_of


class TrainingError(UdonxError, RuntimeError):
    """Training cannot go on; the last good checkpoint is intact."""


class StageError(UdonxError, ValueError):
    """A folder that is no trained stage, or that cannot be used as it was asked to be."""

    exit_code = REFUSED


@contextmanager
def explained(what: str, kind: type | None = None) -> Iterator[None]:
    """Turn whatever goes wrong in a component into a TrainingError of one sentence.

    Errors that have a sentence of their own (memory, a disk) go on up.

    Args:
        what: the component, as the sentence begins.
        kind: its class: the line that is named is the last one in its file.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        # Stopped is a SystemExit too
        if isinstance(error, KeyboardInterrupt) or sentence_of(error) is not None:
            raise
        message = " ".join(str(error).split())
        raise TrainingError(
            f"{what} failed at {_line_of(error, kind)}: {type(error).__name__}: {message}"
        ) from error


def _line_of(error: BaseException, kind: type | None) -> str:
    """file:line where an error left the file that defines `kind`, else where it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if kind and frame.filename == location(kind).rpartition(":")[0]
    ]
    return f"{(own or frames)[-1].filename}:{(own or frames)[-1].lineno}"

"""Which errors are meant for people, and the sentence and exit code that a command ends with."""

from __future__ import annotations

import errno
import os
import traceback

from registry.errors import FAILED, REFUSED, UdonxError

__all__ = ["FAILED", "REFUSED", "UdonxError", "describe_error", "exit_code", "sentence_of"]

_KEPT = "what was written before is whole, and the same command continues"

_CURES = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some of your quota, or give another folder",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n), or give fewer --workers",
    errno.ENFILE: "close other programs: the whole machine has no file left to open",
    errno.EACCES: "give yourself the right to use it, or give another folder",
    errno.EPERM: "give yourself the right to use it, or give another folder",
    errno.EROFS: "give a folder that can be written",
    errno.EIO: "look at that disk",
    errno.ESTALE: "the network disk has gone: mount it again",
    errno.ENOTDIR: "a part of this path is a file: give another path",
    errno.EISDIR: "a folder stands where a file is expected: remove it, or give another path",
    errno.ELOOP: "a link leads to itself: remove it, or give another path",
    errno.ENAMETOOLONG: "give a shorter name",
}


def sentence_of(error: BaseException) -> str | None:
    """One sentence for an error that a person can do something about: what, where, and what to do.

    Args:
        error: what ended a command or a row.

    Returns:
        The sentence; None for an error that only a programmer can mend, whose traceback is worth
        more.

    >>> sentence_of(OSError(28, "No space left on device", "results/a.json"))[:46]
    'results/a.json: No space left on device; free '
    """
    if isinstance(error, UdonxError):
        return str(error)
    if isinstance(error, OSError):
        return _of_system(error)
    if _missing_module(error) == "fcntl":  # of POSIX alone
        return (
            "this system has no file locks (the module fcntl), which udonx needs: use Linux or"
            " macOS, or WSL on Windows"
        )
    if (short := _out_of_memory(error)) is not None:
        return (
            f"out of memory ({short}); {_KEPT}: give it a smaller batch (budget.batch), fewer"
            " --workers, or close other programs"
        )
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return (
            f"no more threads may be started here; {_KEPT}: give fewer --workers, or raise the"
            " limit on processes (ulimit -u)"
        )
    return None


def exit_code(error: BaseException) -> int:
    """What a command that ends with an error exits with."""
    return error.exit_code if isinstance(error, UdonxError) else FAILED


def describe_error(error: BaseException) -> str:
    """What went wrong and where, of an error that is not meant for people."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split())
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}: {message}"


def _missing_module(error: BaseException) -> str | None:
    """The module that could not be imported; the command line's own error stands around it."""
    while isinstance(error.__cause__, ImportError):
        error = error.__cause__
    return error.name if isinstance(error, ImportError) else None


def _of_system(error: OSError) -> str | None:
    if error.errno is None:
        return None
    if error.filename is None and error.errno == errno.ENOENT and not _has_working_directory():
        return "the working directory has been removed; change into a folder that exists"
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    cure = _CURES.get(error.errno)
    return f"{where}{os.strerror(error.errno)}; {f'{cure}; ' if cure else ''}{_KEPT}"


def _has_working_directory() -> bool:
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def _out_of_memory(error: BaseException) -> str | None:
    """What ran out, in a few words; torch has no class for it on the CPU."""
    if isinstance(error, MemoryError):
        return "the machine's"
    text = str(error)
    if isinstance(error, RuntimeError) and (
        "out of memory" in text or "DefaultCPUAllocator" in text or "not enough memory" in text
    ):
        return "the GPU's" if "CUDA" in text else "the machine's"
    return None

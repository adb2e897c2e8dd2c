"""Shows what udonx logs, and its progress, to a person at a terminal.

Every module logs to a logger of its own name below `udonx`. As a library udonx is silent: who wants
its lines configures `logging`, or calls `log_to_stderr`, as the command line does.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

from udonx.common.live import LiveArea

_LOGGER = logging.getLogger("udonx")


class _StderrHandler(logging.Handler):
    """Writes lines to stderr, above whatever progress bars there are.

    stdout holds the result alone. The stream is looked up at each line, since programs and tests
    replace it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if _area is not None:
            _area.print(line)
        # where tqdm was never imported there is no bar; importing it takes a tenth of a second
        elif "tqdm" in sys.modules:
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)


_HANDLER = _StderrHandler()
_area: LiveArea | None = None  # what is drawn on stderr now


def log_to_stderr(level: int = logging.INFO) -> None:
    """Show lines and progress bars on stderr from now on, for scripts and notebooks.

    Args:
        level: the least important lines that are shown.

    Example:
        udonx.log_to_stderr()
        udonx.run("table3_ablation", setting="smoke")
    """
    _LOGGER.addHandler(_HANDLER)  # adds it once, however often this is called
    _LOGGER.setLevel(level)


@contextlib.contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Within, lines and progress bars are shown on stderr; afterwards as before."""
    before, level = list(_LOGGER.handlers), _LOGGER.level
    log_to_stderr()
    try:
        yield
    finally:
        _LOGGER.handlers[:] = before
        _LOGGER.setLevel(level)


def shows_bars() -> bool:
    """Whether progress bars are shown: on a terminal, where `log_to_stderr` was called."""
    return _HANDLER in _LOGGER.handlers and sys.stderr.isatty()


@contextlib.contextmanager
def live_lines(render: Callable[[int, int], list[str]]) -> Iterator[None]:
    """Within, lines stay at the bottom of the terminal, in place of all bars.

    Args:
        render: the lines for so many columns and rows; called from another thread.
    """
    global _area
    with LiveArea(sys.stderr, render) as area:
        _area = area
        try:
            yield
        finally:
            _area = None


def has_live_lines() -> bool:
    """Whether lines stay at the bottom of the terminal: there is no place for bars then."""
    return _area is not None

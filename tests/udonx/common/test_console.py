"""What udonx logs reaches a person only where they want it."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from udonx.common.console import log_to_stderr, logging_to_stderr

LOGGER = logging.getLogger("udonx.engine.train")


def test_as_a_library_udonx_is_silent() -> None:
    """Without a word about logging not even a warning is printed."""
    code = "import logging, udonx; logging.getLogger('udonx.engine').warning('unusual')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_lines_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Within, a line goes to stderr once, however often it was asked for; afterwards nothing."""
    with logging_to_stderr():
        log_to_stderr()
        LOGGER.info("continues after step 1")
    LOGGER.warning("unusual")
    assert capsys.readouterr() == ("", "continues after step 1\n")


def test_a_script_can_have_the_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """`log_to_stderr` takes the least important level that is shown."""
    with logging_to_stderr():
        log_to_stderr(logging.WARNING)
        LOGGER.info("continues after step 1")
        LOGGER.warning("unusual")
    assert capsys.readouterr().err == "unusual\n"

"""The layers of pyproject.toml hold: a module imports only from its own layer and those below."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.tiny import ROOT


def test_nothing_imports_upwards():
    """Every import of `registry` and `udonx` leads down, those inside functions included."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr

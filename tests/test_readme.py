"""The README's commands and snippets run as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- not run: [^>]*-->\n)?```(\w+)\n(.*?)```", re.DOTALL)


def _blocks() -> list[tuple[str, str]]:
    """(language, text) of the README's blocks, without those that say why they are not run and without `make`."""
    found = [(language, text) for skipped, language, text in BLOCK.findall((ROOT / "README.md").read_text()) if not skipped]
    return [(language, text) for language, text in found if "make run" not in text]


def test_readme_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """In a copy of the repository's files, every block of the README works in the order in which it stands."""
    for name in ("experiments", "tests/data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    files = {"toml": iter(["my_question.toml", "my_table.toml"]), "python": iter(["my_loss.py", "load_model.py"])}
    ran = []
    for language, text in _blocks():
        if language in files:
            name = next(files[language])
            (tmp_path / name).write_text(text)
            command = ["udonx", "check", name] if name == "my_question.toml" else [sys.executable, name] if name == "load_model.py" else None
        else:
            command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else None
        if command:
            result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
            assert result.returncode == 0, f"{text}\n{result.stdout}\n{result.stderr}"
            ran.append(result.stdout)
    assert len(ran) == 5
    assert "mine" in ran[3]  # the user's own loss has its row in the table
    assert re.search(r"\[\[1\.?\d* ", ran[4]) or "[[" in ran[4]


def test_shipped_files_are_named_in_readme():
    """Each command of the command line has its line in the README."""
    from udonx.cli.options import COMMANDS

    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`udonx {name}" not in text] == []

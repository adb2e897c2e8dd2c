"""The README's commands and snippets run as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import write_domain
from udonx.cli.options import COMMANDS

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
    names = {
        "toml": iter(["my_question.toml", "my_sequel.toml", "my_table.toml", "my_setting.toml"]),
        "python": iter(["my_loss.py", "my_parts.py", "load_model.py"]),
    }
    printed = {}
    for number, (language, text) in enumerate(_blocks()):
        if language in names:
            name = next(names[language])
            (tmp_path / name).write_text(text)
            if name == "my_setting.toml":  # as a reader would, with the domains of the tests in place of DIR
                write_domain(tmp_path / "DIR", "cars")
            command = {
                "my_question.toml": ["udonx", "check", name],
                "my_sequel.toml": ["udonx", "check", name],
                "my_parts.py": [
                    *("udonx", "run", "my_question.toml", "--row", "baseline", "--plugin", name),
                    *("--set", "sampler=square_root", "--set", "student_head.use=dropout_linear"),
                ],
                "my_setting.toml": ["udonx", "check", name],
                "load_model.py": [sys.executable, name],
            }.get(name)
        else:
            name, command = f"block {number}", ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else None
        if command:
            result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
            assert result.returncode == 0, f"{text}\n{result.stdout}\n{result.stderr}"
            printed[text if language == "sh" else name] = result.stdout
    assert re.search(r"^mine +[\d.]+ +[\d.]+", printed["udonx run my_table.toml\n"], re.MULTILINE)
    r1, similarities = printed["load_model.py"].split("\n", 1)
    assert 0 <= float(r1) <= 1
    matrix = [float(number) for number in re.findall(r"-?\d\.\d*", similarities)]
    assert [matrix[0], matrix[3]] == pytest.approx([1, 1], abs=1e-5)  # unit rows: each image is most similar to itself
    assert similarities.split()[-2:] == ["tests/data/two.png", "tests/data/one.png"]


def test_shipped_files_are_named_in_readme():
    """Each command of the command line has its line in the README."""
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`udonx {name}" not in text] == []

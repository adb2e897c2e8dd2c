"""The commands and snippets of the README and of docs/ run as they stand, and what they name is
there.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from tests.tiny import write_domain
from udonx.cli.options import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- not run: [^>]*-->\n)?```(\w+)\n(.*?)```", re.DOTALL)


def _blocks() -> list[tuple[str, str]]:
    """(language, text) of the blocks, README first, without those that say why they are not run and
    without `make`.
    """
    text = "\n".join(page.read_text() for page in PAGES)
    found = [(language, text) for skipped, language, text in BLOCK.findall(text) if not skipped]
    return [(language, text) for language, text in found if "make run" not in text]


def test_readme_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """In a copy of the repository's files, every block of the README and then of docs/ works in the
    order in which it stands.
    """
    for name in ("experiments", "tests/data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    names = {
        "toml": iter(
            [
                "my_question.toml",
                "my_defaults.toml",
                "my_sequel.toml",
                "my_table.toml",
                "my_setting.toml",
            ]
        ),
        "python": iter(["my_loss.py", "load_model.py", "my_parts.py"]),
    }
    printed = {}
    for number, (language, text) in enumerate(_blocks()):
        if language in names:
            name = next(names[language])
            (tmp_path / name).write_text(text)
            # as a reader would, with the domains of the tests in place of DIR
            if name == "my_setting.toml":
                write_domain(tmp_path / "DIR", "cars")
            command = {
                "my_question.toml": ["udonx", "check", name],
                "my_defaults.toml": ["udonx", "plan", name],
                "my_sequel.toml": ["udonx", "check", name],
                "my_parts.py": [
                    *("udonx", "run", "my_question.toml", "--row", "baseline", "--plugin", name),
                    *("--set", "sampler=square_root", "--set", "student_head.use=dropout_linear"),
                ],
                "my_setting.toml": ["udonx", "check", name],
                "load_model.py": [sys.executable, name],
            }.get(name)
        else:
            name, command = (
                f"block {number}",
                (["bash", "-euo", "pipefail", "-c", text] if language == "sh" else None),
            )
        if command:
            result = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
            )
            assert result.returncode == 0, f"{text}\n{result.stdout}\n{result.stderr}"
            printed[text if language == "sh" else name] = result.stdout
    shown = dict(
        re.findall(r"^(udon|mine) +([\d.]+) ", printed["udonx run my_table.toml\n"], re.MULTILINE)
    )
    assert shown["udon"] != shown["mine"]  # one's own loss is seen to do something
    r1, similarities = printed["load_model.py"].split("\n", 1)
    assert 0 <= float(r1) <= 1
    matrix = [float(number) for number in re.findall(r"-?\d\.\d*", similarities)]
    # unit rows: each image is most similar to itself
    assert [matrix[0], matrix[3]] == pytest.approx([1, 1], abs=1e-5)
    assert similarities.split()[-2:] == ["tests/data/two.png", "tests/data/one.png"]

    # with the plug-in, as the README makes it
    schema = json.loads((tmp_path / "schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(
        tomllib.loads((tmp_path / "my_table.toml").read_text())
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Every link of a page to a file of the repository finds it."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    assert [
        link for link in links if "://" not in link and not (page.parent / link).is_file()
    ] == []


@pytest.mark.parametrize("command", ["run", "check", "show", "plan", "table"])
def test_every_option_is_named_in_readme(command):
    """Whatever these commands take stands in the README."""
    parser = argparse.ArgumentParser()
    COMMANDS[command][1](parser)
    options = {
        option
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    text = (ROOT / "README.md").read_text()
    assert sorted(option for option in options - {"--help"} if f"`{option}" not in text) == []


def test_shipped_files_are_named_in_readme():
    """Each command of the command line has its line in the README."""
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`udonx {name}" not in text] == []

"""The commands and snippets of the README and of docs/ run as they stand, and what they name is
there.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from registry import losses
from tests.tiny import write_domain
from udonx.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
WRITTEN = [page for page in PAGES if page.name != "keys.md"]  # that one is generated
BLOCK = re.compile(r"(<!-- not run: [^>]*-->\n)?^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"\bas\s+`(\w+\.(?:toml|py))`")

# What a reader does with a file that a page asks to save, beyond the commands of the page itself.
CHECKED = {
    "my_defaults.toml": "udonx plan my_defaults.toml",
    "my_sequel.toml": "udonx check my_sequel.toml",
    "my_reported.toml": "udonx table my_reported.toml --format markdown",
    "my_soup.toml": "udonx plan my_soup.toml --row soup",
    "my_teachers.toml": "udonx run my_teachers.toml --row udon --row taught",
    "my_refit.toml": "udonx run my_refit.toml",
    "my_setting.toml": "udonx check my_setting.toml",
    "my_parts.py": (
        "udonx run my_question.toml --row baseline --plugin my_parts.py"
        " --set sampler=square_root --set student_head.use=dropout_linear"
    ),
    "load_model.py": "python load_model.py",
    "embed_images.py": "python embed_images.py",
    "search_images.py": "python search_images.py",
}


def _steps(page: Path) -> list[tuple[str | None, str]]:
    """The blocks of a page as (name of the file to save it as, text); a command has no name.

    Blocks that say why they are not run are left out, and so are `make` and plain text.
    """
    text, steps, end = page.read_text(), [], 0
    for block in BLOCK.finditer(text):
        before, end = text[end : block.start()], block.end()
        skipped, language, content = block.groups()
        if skipped or language not in ("sh", "toml", "python") or content.startswith("make "):
            continue
        names = NAMED.findall(before)
        assert names or language != "toml", f"{page.name}: how is this file called?\n{content}"
        if names:
            steps.append((names[-1], content))
        else:
            steps.append((None, content if language == "sh" else f"python - <<'END'\n{content}END"))
    return steps


def _shell(command: str, folder: Path) -> str:
    """What a command prints that ends well."""
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_readme_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """In a copy of the repository's files, every block of the README and then of docs/ works in the
    order in which it stands.
    """
    for name in ("experiments", "tests/data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    write_domain(tmp_path / "DIR", "cars")  # what a reader has in place of DIR
    printed = {}
    for name, text in [step for page in PAGES for step in _steps(page)]:
        if name is not None:
            (tmp_path / name).write_text(text)
        if command := text if name is None else CHECKED.get(name):
            printed[name or text] = _shell(command, tmp_path)
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


@pytest.mark.parametrize("command", ["run", "check", "show", "plan", "table", "tune"])
def test_every_option_is_documented(command, capsys):
    """Whatever these commands take stands in docs/commands.md."""
    assert main([command, "--help"]) == 0
    options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    assert {"--setting", "--set", "--no-plugins"} <= options
    text = (ROOT / "docs" / "commands.md").read_text()
    assert sorted(option for option in options if f"`{option}" not in text) == []


def test_every_command_is_named_in_readme():
    """Each command of the command line has its line in the README."""
    text = (ROOT / "README.md").read_text()
    assert [name for name in [*COMMANDS, "data", "runs"] if f"`udonx {name}" not in text] == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_files_that_pages_name_are_there(page):
    """A path such as `udonx/engine/loop.py` leads to a file."""
    paths = re.findall(r"`((?:udonx|registry|experiments|tests)/[\w./-]+)`", page.read_text())
    assert [path for path in paths if "NAME" not in path and not (ROOT / path).exists()] == []


def test_every_loss_is_in_the_table():
    """The table of docs/method.md has a line for each loss that ships."""
    text = (ROOT / "docs" / "method.md").read_text()
    assert [name for name in losses.registry.builtin if f"\n| `{name}` |" not in text] == []


def test_readme_is_short():
    """The README fits in 250 lines; the rest is in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_lines_of_pages_are_short(page):
    """Lines of text have at most 100 characters; those of tables may be longer."""
    text = BLOCK.sub("", page.read_text())
    lines = [line for line in text.splitlines() if not line.startswith("|") and len(line) > 100]
    assert [line for line in lines if "](" not in line] == []

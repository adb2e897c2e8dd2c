"""The reference of all keys."""

from __future__ import annotations

import pytest

from registry.registry import RegistryError
from tests.tiny import ROOT
from udonx.config.keys import FILE_KEYS, ROW_KEYS, SETTING_KEYS, TABLES
from udonx.config.reference import describe_section, section, sections, to_markdown


def test_the_page_is_up_to_date():
    """docs/keys.md is what `udonx keys --markdown` prints."""
    assert (ROOT / "docs" / "keys.md").read_text() == to_markdown(), "run `make docs`"


def test_it_has_every_key_with_its_sentence():
    """No key that a file, a row or a setting may have is left out, and each says what it is for."""
    names = {name: {option.name for option in item.options} for name, item in sections().items()}
    assert (
        names["file"] == FILE_KEYS
        and names["row"] == ROW_KEYS | {"grid"}
        and set(TABLES) <= names.keys()
    )
    assert names["setting"] == SETTING_KEYS - ROW_KEYS | {"losses"}
    for item in sections().values():
        assert (
            item.doc.endswith(".")
            and [option.name for option in item.options if not option.doc.endswith(".")] == []
        ), item.name


def test_a_section_says_type_default_and_unit():
    """One line per key with default, type and unit, then its sentence; a required key says so."""
    lines = describe_section(section("transform")).split("\n")
    assert "    crop = 224  (int > 0, pixels)" in lines
    assert (
        lines[lines.index("    flip = true  (true or false)") + 1]
        == "        Mirrors half of the training images left to right."
    )
    assert "    dim = required  (int > 0, dimensions)" in describe_section(section("head"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("optimizer", "did you mean 'optimiser'"),
        ("losses", "udonx components losses"),
        ("x", "there are file, results"),
    ],
)
def test_an_unknown_name_is_told(name, hint):
    """A misspelt table names the nearest, a kind of component the command that shows it."""
    with pytest.raises(RegistryError, match=hint):
        section(name)

"""JSON that is written with a digest and read back."""

from __future__ import annotations

import json

import attrs
import pytest

from udonx.common.files import (
    DamagedFileError,
)
from udonx.common.json_files import append_json_line, read_json, read_json_lines, write_json


@attrs.frozen
class Kept:
    """What a test file holds."""

    r1: float
    name: str


def test_every_flipped_bit_of_a_json_file_is_noticed_or_harmless(tmp_path):
    """A damaged figure is never believed."""
    file = tmp_path / "a.json"
    write_json(file, {"r1": 0.5, "name": "a"})
    whole = file.read_bytes()
    for position in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        file.write_bytes(damaged)
        try:
            assert read_json(file, Kept) == Kept(0.5, "a")
        except DamagedFileError as error:
            assert str(file) in str(error)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "3",
        "[]",
        "{}",
        '{"r1": 0.5}',
        '{"r1": 0.5, "name": "a", "more": 1}',
        "[" * 5000,
        "9" * 5000,
    ],
)
def test_json_of_another_kind_is_one_sentence_with_the_cure(tmp_path, content):
    """Where, what, and what to do."""
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DamagedFileError, match=r"a\.json .*; make it again$"):
        read_json(tmp_path / "a.json", Kept, "make it again")


def test_a_json_file_that_is_not_there_is_not_damaged(tmp_path):
    """What has not been made yet and what is broken are two things."""
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "a.json", dict[str, int])


def test_a_file_of_an_earlier_version_has_no_digest_and_is_believed(tmp_path):
    """Nothing that was earned is lost."""
    (tmp_path / "a.json").write_text(json.dumps({"r1": 0.5, "name": "a"}))
    assert read_json(tmp_path / "a.json", Kept) == Kept(0.5, "a")


def test_damaged_lines_are_numbered_and_the_others_read(tmp_path):
    """One bad line costs that line; half a line at the end is what a kill leaves."""
    file = tmp_path / "log.jsonl"
    for step in range(3):
        append_json_line(file, {"step": step})
    file.write_text(file.read_text().replace('"step": 1', '"step": 7') + '{"step"')
    assert read_json_lines(file) == ([{"step": 0}, {"step": 2}], [2])
    append_json_line(file, {"step": 3})
    assert read_json_lines(file) == ([{"step": 0}, {"step": 2}, {"step": 3}], [2])
    assert read_json_lines(tmp_path / "none.jsonl") == ([], [])

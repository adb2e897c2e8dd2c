"""Folders written whole or not at all; files by the doctest and by whoever writes them."""

from __future__ import annotations

import os

import pytest

from udonx.files import atomic_folder


def test_a_failure_removes_the_folder_but_not_what_links_in_it_lead_to(tmp_path):
    """Nothing stays of a folder that was not finished; originals behind a link do."""
    (tmp_path / "originals").mkdir()
    (tmp_path / "originals" / "a.txt").write_text("mine")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "new") as temporary:
        (temporary / "link").symlink_to(tmp_path / "originals")
        raise RuntimeError
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["originals", "originals/a.txt"]


def test_a_folder_that_holds_something_is_never_replaced(tmp_path):
    """What was put there meanwhile stays."""
    with pytest.raises(OSError), atomic_folder(tmp_path / "new") as temporary:
        (temporary / "ours.txt").touch()
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "theirs.txt").touch()
    assert os.listdir(tmp_path) == ["new"] and os.listdir(tmp_path / "new") == ["theirs.txt"]

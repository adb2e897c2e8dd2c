"""Which files are loaded, and what is given back for one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from udonx.inputs.load import one_or_all


def test_a_shipped_folder_stands_for_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any working directory, as for a folder that lies there."""
    monkeypatch.chdir(tmp_path)
    assert one_or_all("experiments", [1, 2]) == [1, 2]
    assert one_or_all("table3_ablation", [1]) == one_or_all(tmp_path / "mine.toml", [1]) == 1

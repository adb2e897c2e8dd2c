"""Three hundred damaged and hostile files: each ends in success or in a sentence. Ten thousand:
`python benchmarks/fuzz.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fuzz import KINDS, SHARES, fuzz

COUNT, SEED = 300, 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_ends_in_a_traceback_or_a_hang(tmp_path: Path, kind: str) -> None:
    """Whatever stands in an experiment file, a split file or a stored result, a command says what
    is wrong with it.
    """
    assert [
        str(finding) for finding in fuzz(kind, range(round(COUNT * SHARES[kind])), SEED, tmp_path)
    ] == []


def test_a_traceback_and_a_hang_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzzer sees what it looks for: an error that is not meant for people, and a file that is
    waited for.
    """

    def feed(self: object, path: Path) -> None:
        if path.stat().st_size % 2:
            raise KeyError("losses")
        while True:
            pass

    monkeypatch.setattr(KINDS["experiment"], "feed", feed)
    monkeypatch.setattr("benchmarks.fuzz.SECONDS", 0.1)
    found = {
        finding.error.split(":")[0] for finding in fuzz("experiment", range(12), SEED, tmp_path)
    }
    assert found == {"KeyError", "Hang"}

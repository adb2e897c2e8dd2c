"""`udonx index`, `udonx search` and `udonx duplicates`: what they print, and bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.tiny import ROOT
from tests.udonx.search.test_index import vectors_of
from udonx.cli import main

DATA = ROOT / "tests" / "data"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """In a folder of its own, an index of two images."""
    monkeypatch.chdir(tmp_path)
    given = [str(DATA / name) for name in ("one.png", "two.png")]
    assert main(["index", *given, "--model", "demo:main", "--out", "two.index"]) == 0
    return tmp_path / "two.index"


def test_index_and_search_print_what_they_found(index, capsys):
    """The index says its size, model and kind; a search prints rank, score and file, or JSON."""
    assert main(["index", "two.index", "--out", "copy.index"]) == 0
    assert "copy.index: 2 vectors of udonx_demo_resnet10t (feature 256" in capsys.readouterr().err
    query = str(DATA / "one.png")
    assert main(["search", "two.index", query]) == 0
    name, first, second = capsys.readouterr().out.splitlines()
    assert name.endswith("tests/data/one.png")
    assert first == f"   1   1.000  {name}" and second.endswith("two.png")
    assert main(["search", "two.index", query, "-k", "1", "--json", "--page", "one.html"]) == 0
    printed = capsys.readouterr()
    (found,) = json.loads(printed.out)["queries"]
    assert [each["path"] for each in found["neighbours"]] == [query]
    assert "wrote one.html" in printed.err and (index.parent / "one.html").stat().st_size > 3000


def test_an_approximate_index_prints_its_recall(tmp_path, capsys):
    """The recall against exact search stands in the line of the index."""
    vectors_of(1000).save(tmp_path / "vectors")
    given = [str(tmp_path / "vectors"), "--out", str(tmp_path / "index"), "--kind", "hnsw"]
    assert main(["index", *given]) == 0
    line = capsys.readouterr().err
    assert "hnsw: recall@10 " in line and "% of exact search (100 held-out vectors)" in line


def test_duplicates_prints_groups(tmp_path, capsys):
    """Groups as text, or as JSON."""
    vectors = vectors_of(4)
    vectors.vectors[3] = vectors.vectors[1]
    vectors.save(tmp_path / "vectors")
    assert main(["duplicates", str(tmp_path / "vectors")]) == 0
    assert capsys.readouterr().out.endswith("2 images, 1.000\n  /photos/1.jpg\n  /photos/3.jpg\n")
    assert main(["duplicates", str(tmp_path / "vectors"), "--threshold", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["groups"]) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["search", "nowhere", "QUERY"], "nowhere is no index: it has no index.json"),
        (["search", "two.index"], "no path is given"),
        (["search", "two.index", "nowhere.png"], "nowhere.png is not there"),
        (["search", "two.index", "empty"], "empty holds no image"),
        (["search", "two.index", "text.png"], "text.png cannot be decoded"),
        (["search", "two.index", "bomb.png"], "bomb.png is too large (more than"),
        (["search", "two.index", "QUERY", "-k", "3"], "k: got 3, allowed is 1 to 2"),
        (["search", "two.index", "other"], "two.index holds vectors of udonx_demo_resnet10t"),
        (["search", "two.index", "QUERY", "--model", "nowhere"], "nowhere is neither here nor"),
        (["index", "empty", "--out", "new"], "empty is no folder of vectors"),
        (["index", "empty", "--model", "demo:main", "--out", "new"], "empty holds no image"),
        (["duplicates", "empty"], "empty is no folder of vectors"),
        (["duplicates", "two.index", "--threshold", "2"], "at most 1, got 2"),
    ],
)
def test_bad_input_is_one_sentence(index, capsys, arguments, sentence):
    """Each ends with exit code 2 and one line that says what is wrong."""
    folder = index.parent
    (folder / "empty").mkdir()
    (folder / "text.png").write_text("no picture")
    vectors_of(3).save(folder / "other")
    Image.fromarray(np.zeros((10_000, 20_000), bool)).save(folder / "bomb.png")
    capsys.readouterr()
    arguments = [str(DATA / "one.png") if word == "QUERY" else word for word in arguments]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err and printed.err.count("\n") == 1 and not printed.out

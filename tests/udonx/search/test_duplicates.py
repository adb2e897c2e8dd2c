"""Groups of images that are nearly the same."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest

from tests.udonx.search.test_index import vectors_of
from udonx.search import duplicates as module
from udonx.search.duplicates import duplicates
from udonx.search.index import Index
from udonx.search.vectors import VectorsError


def _turned(*degrees: float) -> np.ndarray:
    """Unit vectors in a plane, float32 [N, 8]."""
    rows = np.zeros((len(degrees), 8), np.float32)
    rows[:, 0], rows[:, 1] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return rows


@pytest.mark.parametrize("size", [2, 1000])
def test_groups_are_chains_of_similar_images(monkeypatch, size):
    """Images are in one group where similar ones lead from one to the other, in blocks or not."""
    monkeypatch.setattr(module, "_ROWS", size)
    monkeypatch.setattr(module, "_TILE", size)
    vectors = vectors_of(7, vectors=_turned(50, 0, 90, 6, 90, 170, 12))
    found = duplicates(Index(vectors), threshold=0.99)  # 8 degrees
    names = [[file.stem for file in group] for group in found.groups]
    assert names == [["1", "3", "6"], ["2", "4"]]
    assert found.least == pytest.approx([np.cos(np.radians(6)), 1])
    assert len(duplicates(vectors, threshold=1)) == 1
    assert str(found).startswith("2 groups of nearly equal images (5 images of 7,")
    assert json.loads(found.to_json())["groups"][1]["paths"] == ["/photos/2.jpg", "/photos/4.jpg"]


def test_equal_images_of_random_vectors_are_found():
    """Among many vectors exactly those that were put there twice are found."""
    vectors = vectors_of(300)
    vectors.vectors[250] = vectors.vectors[17]
    found = duplicates(attrs.evolve(vectors, paths=[*vectors.paths]), threshold=0.9999)
    assert [[file.stem for file in group] for group in found.groups] == [["17", "250"]]


def test_a_collapsed_model_gives_one_group():
    """Where all images have one vector they are one group: four million pairs take no time."""
    same = np.zeros((3000, 8), np.float32)
    same[:, 0] = 1
    (group,) = duplicates(vectors_of(3000, vectors=same)).groups
    assert len(group) == 3000


@pytest.mark.parametrize("threshold", [0, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    """It is above 0 and at most 1."""
    with pytest.raises(VectorsError, match="above 0 and at most 1, got"):
        duplicates(vectors_of(3), threshold)


def test_a_folder_of_an_index_or_of_vectors(tmp_path):
    """The folder of an index and that of vectors will do; another is refused."""
    Index(vectors_of(3)).save(tmp_path / "index")
    vectors_of(3).save(tmp_path / "vectors")
    assert duplicates(tmp_path / "index").searched == duplicates(tmp_path / "vectors").searched == 3
    with pytest.raises(VectorsError, match="is no folder of vectors"):
        duplicates(tmp_path)

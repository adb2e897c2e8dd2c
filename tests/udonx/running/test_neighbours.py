"""Neighbours that evaluations of an earlier version did not keep."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import udonx
from tests.tiny import SETTING, write_domain, write_experiment
from udonx.cli import main

ROWS = (
    '[rows.start]\nscheme = "off_the_shelf"\n[rows.pca]\nscheme = { use = "off_the_shelf", reduce ='
    ' "pca" }\n'
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The results of two rows on two domains of tiny images, which lie in `data` beside them."""
    for number, domain in enumerate(("cars", "food")):
        write_domain(tmp_path / "data", domain, first_class=2 * number)
    file = write_experiment(tmp_path, SETTING + ROWS)
    udonx.run(file, data=tmp_path / "data", results=tmp_path / "results", device="cpu")
    return tmp_path / "results"


def neighbours(results: Path) -> list[dict[str, np.ndarray]]:
    """What every neighbours.npz holds."""
    return [dict(np.load(file)) for file in sorted(results.glob("evaluations/*/neighbours.npz"))]


def others(results: Path) -> dict[Path, bytes]:
    """All other files of the results."""
    return {
        file: file.read_bytes()
        for file in results.rglob("*")
        if file.is_file() and "report" not in file.parts and file.name != "neighbours.npz"
    }


def page(results: Path) -> str:
    """The page of the only table."""
    (file,) = results.glob("report/tables/*/*/index.html")
    return file.read_text()


def test_galleries_are_made_up_for_without_changing_a_figure(results):
    """The stored stages find what they found; every other file keeps its bytes, and the page has
    its pictures.
    """
    before, rest = neighbours(results), others(results)
    for file in results.glob("evaluations/*/neighbours.npz"):
        file.unlink()
    assert main(["report", str(results)]) == 0
    assert "There is no gallery" in page(results) and neighbours(results) == []
    assert main(["report", str(results), "--galleries", "--device", "cpu"]) == 0
    assert len(before) == 2 and others(results) == rest
    for found, kept in zip(neighbours(results), before, strict=True):
        assert found.keys() == kept.keys()
        for name in kept:
            np.testing.assert_array_equal(found[name], kept[name])
    assert "gallery-data" in page(results) and list(results.glob("report/pictures/*.webp"))


def test_what_cannot_be_made_up_for_is_said(results, logged):
    """A stage that is gone, and hits that are not those of the evaluation, cost the row its
    neighbours and a sentence each; the pages are written.
    """
    table = json.loads(next(results.glob("tables/*/*/table.json")).read_text())
    gone, changed = (row["evaluations"][0] for row in table["rows"])
    for evaluation in (gone, changed):
        (results / "evaluations" / evaluation / "neighbours.npz").unlink()
    (results / "stages" / table["rows"][0]["stages"][0] / "best.safetensors").unlink()
    file = results / "evaluations" / changed / "per_query.npz"
    arrays = dict(np.load(file))
    np.savez_compressed(file, **{**arrays, "own_hit": ~arrays["own_hit"]})
    udonx.report(results, galleries=True, device="cpu")
    said = "\n".join(logged)
    assert "no neighbours of " in said and "is no trained stage" in said
    assert "on this device (cpu) the nearest images are not those that were evaluated" in said
    assert neighbours(results) == [] and "There is no gallery" in page(results)

"""Images as queries of an index: what is found, and the page that shows it."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import pytest
from PIL import Image

import udonx
from tests.browser import chromium, open_page, overflow
from udonx.search import page as page_module
from udonx.search.index import Index
from udonx.search.queries import search_images
from udonx.search.vectors import Vectors, VectorsError

NAMES = ["red.png", "green.png", "<b>blue & co.png"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of a colour each."""
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(NAMES):
        pixels = np.full((60, 80, 3), 40, np.uint8)
        pixels[10:50, 10:60, number] = 220
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def index(photos: Path) -> Path:
    """The index of these images by the demo's backbone."""
    folder = photos.parent / f"{photos.name}.index"
    udonx.index(photos, model="demo:main", out=folder, device="cpu")
    return folder


def test_an_image_finds_itself_first(photos, index):
    """The model that the index knows embeds the images; each finds its own file."""
    found = search_images(index, photos, k=2, device="cpu")
    assert [query.name for query in found.queries] == sorted(NAMES)
    for query, neighbours in zip(found.queries, found.neighbours, strict=True):
        assert neighbours[0].path == query and neighbours[0].score == pytest.approx(1, abs=1e-5)
        assert len(neighbours) == 2 and neighbours[1].score < 1
    assert str(found).count("  1.000  ") == 3
    content = json.loads(found.to_json())
    assert content["queries"][1]["neighbours"][0]["path"] == str(found.queries[1])
    assert content["model"]["source"] == "demo:main"


def test_vectors_and_indexes_are_queries_too(index):
    """A folder of vectors, another index and such objects search without the model."""
    vectors = index.with_name(f"{index.name}.vectors")
    expected = str(search_images(index, index, device="cpu"))
    for queries in (vectors, str(vectors), [vectors], Vectors.open(vectors), Index.load(index)):
        assert str(search_images(index, queries, model="nowhere")) == expected


def test_another_model_is_refused(photos, index, tmp_path):
    """Neither a model nor vectors of another model search an index."""
    loaded = Index.load(index)
    other = attrs.evolve(loaded.model, weights="89ab", name="other")
    with pytest.raises(VectorsError, match=r"holds vectors of .* those of other"):
        search_images(index, attrs.evolve(loaded.vectors, model=other))
    Index(attrs.evolve(loaded.vectors, model=other)).save(tmp_path / "other")
    with pytest.raises(VectorsError, match=r"other holds vectors of other"):
        search_images(tmp_path / "other", photos, model="demo:main")
    gone = attrs.evolve(loaded.model, source="/results/stages/gone")
    Index(attrs.evolve(loaded.vectors, model=gone)).save(tmp_path / "gone")
    with pytest.raises(VectorsError, match=r"not at /results/stages/gone any more; say with --mod"):
        search_images(tmp_path / "gone", photos)
    assert len(search_images(tmp_path / "gone", photos, model="demo:main")) == 3


def test_a_picture_that_is_none_is_left_out_or_refused(photos, index, tmp_path, logged):
    """Among others it is left out and named; alone it ends the search in one sentence."""
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    found = search_images(index, [photos / NAMES[0], broken], device="cpu")
    assert len(found) == 1 and list(found.unreadable) == [str(broken)]
    assert any(line.startswith("left out: 1 image") for line in logged)
    with pytest.raises(VectorsError, match=r"broken\.jpg cannot be decoded"):
        search_images(index, broken, device="cpu")


def test_the_page_holds_all_that_it_shows(photos, index, tmp_path, monkeypatch):
    """Pictures lie in the page; names are text; what is missing is said; the rest is counted."""
    monkeypatch.setattr(page_module, "MOST_QUERIES", 2)
    vectors = Index.load(index).vectors
    moved = Index(attrs.evolve(vectors, paths=["nowhere.png", *vectors.paths[1:]]))
    search_images(moved, index, k=2).save_page(tmp_path / "found.html")
    text = (tmp_path / "found.html").read_text()
    assert "<b>blue" not in text and "&lt;b&gt;blue &amp; co.png" in text
    assert "first 2 of 3" in text and "nowhere.png does not exist" in text
    pictures, missing = text.count("data:image/jpeg;base64,"), text.count("cannot be shown:")
    assert pictures + missing == 6 and missing in (1, 2)  # two queries, two neighbours each


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(index, tmp_path, width, scheme):
    """It asks for nothing, logs no error, fits its window, and shows every picture."""
    chromium()
    search_images(index, index).save_page(tmp_path / "found.html")
    with open_page(tmp_path / "found.html", width=width, scheme=scheme) as page:
        assert overflow(page) == 0
        shown = page.locator("img").evaluate_all("all => all.map(img => img.naturalWidth)")
        assert len(shown) == 12 and min(shown) > 0
        assert page.get_by_role("region").count() == 3
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (colour == "rgb(255, 255, 255)") == (scheme == "light")

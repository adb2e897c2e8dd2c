"""The gallery on the page of a table: pictures, two rows beside each other, confusions."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import udonx
from tests.browser import chromium, open_page, overflow
from tests.udonx.reports.evaluated import write_results
from udonx.reports import gallery

BEST = "UDON, <b>ours</b>"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results and images of a table, and its report in `out`."""
    folder = tmp_path_factory.mktemp("gallery")
    write_results(folder / "results", folder / "data")
    udonx.report(folder / "results", folder / "out")
    return folder


def page_of(root: Path) -> Path:
    """The page of the table."""
    return root / "out" / "tables" / "schemes" / "mine" / "index.html"


def embedded(page: Path, name: str):
    """What a page holds as JSON."""
    text = page.read_text()
    return json.loads(
        re.search(f'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)[1]
    )


def test_every_shown_image_has_one_small_picture(root):
    """Beside the pages, shared by all places that show it; nothing else lies there."""
    shown = {file for _, file in embedded(page_of(root), "gallery-data")["images"]}
    there = {file.name for file in (root / "out" / "pictures").iterdir()}
    in_page = set(re.findall(r'src="../../../pictures/([^"]+)"', page_of(root).read_text()))
    assert in_page <= shown == there and len(there) <= 72
    for name in there:
        with Image.open(root / "out" / "pictures" / name) as picture:
            assert picture.format == "WEBP" and max(picture.size) == 96


def test_the_same_results_give_the_same_page(root):
    """Byte for byte, so that a report can be compared with an earlier one."""
    before = page_of(root).read_bytes()
    udonx.report(root / "results", root / "out")
    assert page_of(root).read_bytes() == before


def test_fewer_pictures_than_queries_would_need_bound_a_report(root, tmp_path, monkeypatch):
    """The queries that tell most are kept, of every domain."""
    whole = embedded(page_of(root), "gallery-data")["queries"]
    monkeypatch.setattr(gallery, "MOST_PICTURES", 40)
    udonx.report(root / "results", tmp_path / "out")
    kept = embedded(page_of(tmp_path), "gallery-data")["queries"]
    assert len(list((tmp_path / "out" / "pictures").iterdir())) <= 40
    assert 3 <= len(kept) < len(whole)
    assert {query["domain"] for query in kept} == {"cars", "food", "logos"}


def test_two_rows_stand_beside_each_other(root):
    """The choice of rows, kind and domain selects queries; each card shows five images of both
    rows, right or wrong in words and in a sign.
    """
    chromium()
    with open_page(page_of(root)) as page:
        assert page.locator("#gallery-a option:checked").inner_text() == BEST
        assert page.locator("#gallery-b option:checked").inner_text() == "baseline"
        kind = page.locator("#gallery-kind option:checked").inner_text()
        cards = page.locator("#gallery-cards .card")
        assert kind == f"A finds, B misses ({cards.count()})" and cards.count() > 0
        assert page.locator("#gallery-cards li").count() == 10 * cards.count()
        for card in cards.all():
            firsts = card.locator("li:first-child img").all()
            assert [one.get_attribute("alt").split(",")[0] for one in firsts] == ["right", "wrong"]
            assert "✓" in card.locator("li:first-child").first.inner_text()
            assert "✗" in card.locator("li:first-child").last.inner_text()
        page.locator("#gallery-kind").select_option("01")
        page.locator("#gallery-domain").select_option("food")
        queries = page.locator("#gallery-cards .query .where").all_inner_texts()
        assert set(queries) <= {"food"}
        page.locator("#gallery-b").select_option(label=BEST)
        assert cards.count() == 0
        assert page.locator("#gallery-count").inner_text() == "none among the chosen queries"


def test_pictures_are_loaded_when_they_come_into_view(root):
    """Every picture is lazy, has a text in its place and is there."""
    chromium()
    with open_page(page_of(root)) as page:
        pictures = page.locator("#gallery img")
        assert pictures.count() > 20
        for attributes in pictures.evaluate_all(
            "all => all.map((one) => [one.loading, one.alt, one.title])"
        ):
            assert attributes[0] == "lazy" and attributes[1].endswith(attributes[2])
        first = page.locator("#gallery-cards img").first
        first.scroll_into_view_if_needed()
        page.wait_for_function("one => one.naturalWidth === 96", arg=first.element_handle())


def test_confusions_are_those_of_the_chosen_row(root):
    """A table with headers of both sides; a row that searches each domain alone is not offered."""
    chromium()
    counts = embedded(page_of(root), "confusions-data")
    with open_page(page_of(root)) as page:
        choice = page.locator("#confusions-row")
        assert choice.locator("option").all_inner_texts() == ["baseline", BEST]
        for row in (0, 1):
            choice.select_option(str(row))
            cells = page.locator("#confusions td[data-nearest]").all_inner_texts()
            assert [int(cell) for cell in cells] == [each for line in counts[row] for each in line]
        away = 24 - counts[1][0][0]
        assert page.locator("td[data-elsewhere='0']").inner_text() == f"{100 * away / 24:.1f} %"
        assert page.locator("#confusions tbody th[scope=row]").count() == 3


@pytest.mark.parametrize("width", [400, 1600])
def test_the_gallery_fits_its_window(root, width):
    """Nothing but the table of confusions scrolls sideways."""
    chromium()
    with open_page(page_of(root), width=width) as page:
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert overflow(page) <= 0


def test_rows_of_one_label_are_told_apart_by_their_names(root, tmp_path):
    """As the recipes of two domains may be called the same."""
    results = shutil.copytree(root / "results", tmp_path / "results")
    table = results / "tables" / "schemes" / "mine" / "table.json"
    content = json.loads(table.read_text())
    del content["digest"]
    for row in content["rows"][:2]:
        row["label"] = "the same"
    table.write_text(json.dumps(content))
    udonx.report(results, tmp_path / "out")
    options = re.findall(r"<option value=[^>]*>([^<]*)<", page_of(tmp_path).read_text())
    assert {"the same (baseline)", "the same (udon)", "own"} <= set(options)


def test_without_its_images_a_table_keeps_its_confusions(root, tmp_path):
    """The page says why there are no pictures; `data` names where the images lie now, and others
    in their place are refused.
    """
    results = tmp_path / "results"
    shutil.copytree(root / "results", results)
    moved = shutil.copytree(root / "data", tmp_path / "moved")
    table = results / "tables" / "schemes" / "mine" / "table.json"
    content = json.loads(table.read_text())
    del content["digest"]
    content["about"]["data"] = str(tmp_path / "gone")
    table.write_text(json.dumps(content))
    udonx.report(results, tmp_path / "out")
    text = page_of(tmp_path).read_text()
    assert "There are no pictures: its images are not here" in text and "--data" in text
    assert "confusions-data" in text and "gallery-data" not in text
    udonx.report(results, tmp_path / "out", data=moved)
    assert "gallery-data" in page_of(tmp_path).read_text()
    (moved / "images" / "cars" / "0" / "é0.png").write_bytes(b"another image")
    udonx.report(results, tmp_path / "out", data=moved)
    assert "the test images of cars in" in page_of(tmp_path).read_text()


def test_a_table_of_an_earlier_version_says_how_to_get_its_gallery(tmp_path):
    """Its evaluations are whole, and its page has all the rest."""
    write_results(tmp_path / "results", tmp_path / "data", neighbours=0)
    udonx.report(tmp_path / "results", tmp_path / "out")
    text = page_of(tmp_path).read_text()
    assert "There is no gallery: its evaluations hold no neighbours" in text
    assert "`udonx report --galleries`" in text


def test_the_failures_are_those_of_the_row_that_the_page_calls_best(root):
    """By domain, the surest first, with how many there are; no query is shown that it answers."""
    text = page_of(root).read_text()
    assert "UDON, &lt;b&gt;ours&lt;/b&gt; has the highest R@1" in text
    failures = text[text.index('id="failures"') : text.index('id="confusions-title"')]
    assert failures.startswith('id="failures">Failures of “UDON, &lt;b&gt;ours&lt;/b&gt;”')
    firsts = re.findall(
        r'<ol class="strip">\s*<li class="(\w+)">.*?(\d\.\d\d)</span>', failures, re.S
    )
    domains = re.findall(r"(\w+): the (\d+) of (\d+) failures", failures)
    assert [name for name, _, _ in domains] == ["cars", "food", "logos"]
    assert {verdict for verdict, _ in firsts} == {"wrong"}
    hits = np.load(root / "results" / "evaluations" / "udon" / "per_query.npz")["merged_hit"]
    assert sum(int(count) for _, _, count in domains) == (~hits).sum()
    for _, count, _ in domains:
        scores = [float(score) for _, score in firsts[: int(count)]]
        assert scores == sorted(scores, reverse=True) and len(scores) <= 6
        del firsts[: int(count)]

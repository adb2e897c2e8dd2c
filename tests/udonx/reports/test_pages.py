"""The pages in a browser: sorting, filter, reference row, themes, narrow and wide windows."""

from __future__ import annotations

from pathlib import Path

import pytest

import udonx
from tests.browser import chromium, open_page, overflow
from tests.udonx.reports.small import write_results


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of one table."""
    chromium()
    root = tmp_path_factory.mktemp("report")
    write_results(root / "results")
    udonx.report(root / "results", root / "out")
    return root / "out"


@pytest.fixture(scope="module")
def table(out: Path) -> Path:
    """The page of the table."""
    return out / "tables" / "schemes" / "demo" / "index.html"


def labels(page) -> list[str]:
    """The labels of the rows that are visible, in their order."""
    headers = page.locator("#figures tbody tr:not([hidden]) th")
    return [text.split("\n")[0] for text in headers.all_inner_texts()]


def test_a_header_sorts_and_says_so(table):
    """Best first, worst first, then as the table has it; what has no figure stays last."""
    with open_page(table) as page:
        before = labels(page)
        header = page.locator("#figures thead th", has_text="R@1").first
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == "descending"
        assert labels(page)[-1] == "off the shelf" and labels(page)[0] in before[1:3]
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == "ascending"
        assert labels(page)[0] == "off the shelf"
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == "none" and labels(page) == before
        minutes = page.locator("#figures thead th", has_text="min").last.locator("button")
        minutes.focus()
        page.keyboard.press("Enter")
        assert labels(page)[:2] == ["UDON, <b>our</b> way", "baseline"]
        page.keyboard.press("Enter")
        assert labels(page)[:2] == ["baseline", "UDON, <b>our</b> way"]


def test_the_filter_hides_rows_and_counts(table):
    """Rows whose label lacks a word are hidden; the count is announced."""
    with open_page(table) as page:
        page.get_by_label("Filter rows").fill("udon")
        assert labels(page) == ["UDON, <b>our</b> way"]
        assert page.locator("[data-count=figures]").inner_text() == "1 of 4 rows"
        page.get_by_label("Filter rows").fill("")
        assert len(labels(page)) == 4


def test_any_row_becomes_the_reference(table):
    """Differences are to the chosen row, with the sign turned; none are shown on request."""
    with open_page(table) as page:
        cell = page.locator("tr[data-row='1'] td[data-key='r1'] .diff")
        base = page.locator("tr[data-row='0'] td[data-key='r1'] .diff")
        before = cell.inner_text()
        assert before.startswith("+") and base.inner_text() == ""
        assert "better" in cell.get_attribute("class")
        page.locator("#reference").select_option(label="UDON, <b>our</b> way")
        assert cell.inner_text() == "" and "worse" in base.get_attribute("class")
        point, low, high = before.replace("[", "").replace("]", "").replace(",", "").split()
        assert base.inner_text() == f"−{point[1:]} [−{high[1:]}, −{low[1:]}]"
        page.locator("#reference").select_option("")
        assert page.locator(".diff:not(:empty)").count() == 0


def test_a_page_says_the_same_before_and_after_its_script(table):
    """The differences in the HTML are those that the script shows at first."""
    import re

    written = re.findall(r'class="diff[^"]*">([^<]*)<', table.read_text())
    with open_page(table) as page:
        assert page.locator(".diff").all_inner_texts() == written


@pytest.mark.parametrize("width", [400, 1600])
def test_pages_fit_their_window(out, table, width):
    """Nothing but the tables' own boxes scrolls sideways."""
    for address in (out / "index.html", table):
        with open_page(address, width=width) as page:
            assert overflow(page) <= 0


def test_the_theme_is_the_systems_until_it_is_chosen(table):
    """The button goes through system, light and dark; the page remembers."""
    background = "getComputedStyle(document.body).backgroundColor"
    with open_page(table, scheme="dark") as page:
        dark = page.evaluate(background)
        page.get_by_role("button", name="Theme: system").click()
        light = page.evaluate(background)
        assert dark != light == "rgb(255, 255, 255)"
        page.reload()
        assert page.get_by_role("button", name="Theme: light").is_visible()
        assert page.evaluate(background) == light


def test_the_index_leads_to_the_table(out):
    """A click on a table's title opens its page."""
    with open_page(out / "index.html") as page:
        page.get_by_role("link", name="Which <scheme> & why").click()
        page.wait_for_url("**/tables/schemes/demo/index.html")
        assert page.get_by_role("heading", level=1).inner_text() == "Which <scheme> & why"

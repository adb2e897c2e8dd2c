"""The page in a headless Chromium: a picture is dropped, pasted or chosen, and filtered."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import expect

from tests.browser import open_page, overflow
from tests.udonx.serving.conftest import Start

_DROP = """([kind, content, name]) => {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const target = document.getElementById("drop");
  const about = { bubbles: true, cancelable: true };
  target.dispatchEvent(
    kind === "drop"
      ? new DragEvent("drop", { ...about, dataTransfer: transfer })
      : new ClipboardEvent("paste", { ...about, clipboardData: transfer }),
  );
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1200, "light")])
def test_a_picture_is_dropped_or_pasted(
    start: Start, photos: Path, kind: str, width: int, scheme: str
) -> None:
    """Its neighbours are shown, itself first; a domain filters them; nothing is too wide."""
    file = photos / "cars" / "2.png"
    content = base64.b64encode(file.read_bytes()).decode()
    with start() as client:
        address = str(client.base_url)
        with open_page(address, width=width, scheme=scheme, allow=(address,)) as page:
            page.evaluate(_DROP, [kind, content, "mine.png"])
            page.wait_for_selector("#neighbours li")
            first = page.locator("#neighbours li").first
            assert first.locator(".path").inner_text() == "cars/2.png"
            assert first.locator(".score").inner_text() == "1.000"
            assert page.locator("#neighbours li").count() == 12
            assert page.locator("#picture").is_visible() and overflow(page) <= 0
            page.select_option("#domain", "dishes")
            expect(page.locator("#neighbours li")).to_have_count(6)
            assert set(page.locator(".domain").all_inner_texts()) == {"dishes"}
            expect(page.locator("#neighbours img").first).to_have_js_property("naturalWidth", 80)


def test_a_file_is_chosen_with_the_keyboard(start: Start, photos: Path) -> None:
    """Tab reaches the file, then the choices; Space opens the dialogue of the system."""
    with start() as client:
        address = str(client.base_url)
        with open_page(address, allow=(address,)) as page:
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.id") == "file"
            with page.expect_file_chooser() as chooser:
                page.keyboard.press("Space")
            chooser.value.set_files(photos / "dishes" / "4.png")
            page.wait_for_selector("#neighbours li")
            assert page.locator(".path").first.inner_text() == "dishes/4.png"


def test_the_api_is_described(start: Start) -> None:
    """Each route with its parameters, refusals and a command that calls it."""
    with start() as client:
        address = str(client.base_url)
        with open_page(f"{address}/docs", width=400, allow=(address,)) as page:
            page.wait_for_selector("section")
            text = page.inner_text("main")
            assert "POST /search" in text and "GET /images/{row}" in text
            assert "integer, 1 to 1000" in text and "curl --data-binary @photo.jpg" in text
            assert overflow(page) <= 0

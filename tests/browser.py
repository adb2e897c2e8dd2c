"""Pages in a headless Chromium: the system's, driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_LOCAL = ("file:", "data:", "blob:")


def chromium() -> str:
    """The system's Chromium; the test is skipped where there is none."""
    pytest.importorskip("playwright", reason="playwright is not installed")
    for name in _NAMES:
        if (path := shutil.which(name)) is not None:
            return path
    pytest.skip("no Chromium on this machine: apt-get install chromium")


@contextmanager
def open_page(
    address: Path | str,
    *,
    width: int = 1200,
    scheme: Literal["light", "dark"] = "light",
    allow: tuple[str, ...] = (),
) -> Iterator[Page]:
    """Open a page; fails the test where it logs an error or asks a network for anything.

    Args:
        address: a file, or a URL.
        width: of the window, in CSS pixels.
        scheme: which theme the system asks for.
        allow: what a URL may begin with beside a file on disk, such as a server of the test's.
    """
    from playwright.sync_api import sync_playwright

    # as root, in a container, Chromium has no sandbox
    options = ["--no-sandbox"] if os.getuid() == 0 else []
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=options)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(30_000)
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((*_LOCAL, *allow))
                else faults.append(f"asked for {request.url}")
            ),
        )
        page.goto(address.resolve().as_uri() if isinstance(address, Path) else address)
        yield page
        browser.close()
    assert faults == []


def overflow(page: Page) -> int:
    """How many CSS pixels a page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")

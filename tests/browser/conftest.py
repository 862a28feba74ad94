"""A real browser: Chromium as Debian ships it, driven by Playwright; each test has a profile of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

QUIET = (
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-gpu",
)  # fmt: skip
TOO_WIDE = """() => document.documentElement.scrollWidth <= window.innerWidth ? [] :
  [...document.querySelectorAll("main *, header *")]
    .filter(each => each.getBoundingClientRect().right > window.innerWidth && !each.closest(".sideways, .scroll"))
    .map(each => each.outerHTML.slice(0, 80))"""
SCHEMES: tuple[tuple[Literal["light", "dark"], dict[str, list[str]]], ...] = (
    ("light", {}),
    ("dark", {"runOnly": ["color-contrast"]}),  # all else is as in the light
)
PICTURES = Path(__file__).parents[2] / "docs" / "guides" / "pictures"
MAY_DRAW = os.environ.get("ECROSS_TEST_PICTURES") == "1"
"""`make pictures` draws the guides' pictures anew; else they stay as they are."""


@pytest.fixture(scope="module")  # the driver has an event loop, which is in the way of other tests' own
def chromium(chromium_program: str) -> Iterator[Browser]:
    """The browser, started once for the tests of a file."""
    # As root, it does not start in its sandbox; what it is shown here is ours alone.
    options = [*QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_program, args=options)
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody at a browser, and what it saw besides the pages: requests, and what a page complained of."""

    context: BrowserContext
    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def hear(self, complaint: str) -> None:
        """Keep what the browser complains of: neither pages that are answers of 4xx, nor what it was asked to clear."""
        if not any(each in complaint for each in ("the server responded with a status of 4", "Clear-Site-Data header")):
            self.complaints.append(complaint)

    def hosts(self) -> set[str]:
        """Where it has sent requests."""
        return {urlsplit(url).netloc for url in self.requests if not url.startswith("data:")}

    def faults(self) -> list[str]:
        """What axe finds wrong with the page for those who cannot see or use it as others do, in both color schemes."""
        found = []
        for scheme, rules in SCHEMES:
            self.page.emulate_media(color_scheme=scheme)
            result = Axe().run(self.page, options=rules)
            found += [
                f"{scheme}: {each['id']}: {each['help']}: {[node['target'] for node in each['nodes']]}"
                for each in result.response["violations"]
            ]
        return found

    def too_wide(self, width: int, height: int) -> list[str]:
        """What stands out of a window of this size, in CSS pixels, so that the page is scrolled sideways."""
        self.page.set_viewport_size({"width": width, "height": height})
        found: list[str] = self.page.evaluate(TOO_WIDE)
        return found

    def draw(self, name: str, *, hidden: str = "none", height: int | None = None) -> None:
        """Make the guide's picture of this name, if pictures are to be made, with a box over what is hidden.

        It shows all of the page, or what fits into the height.
        """
        if MAY_DRAW:
            PICTURES.mkdir(exist_ok=True)
            self.page.set_viewport_size({"width": 900, "height": height or 300})
            for scheme in ("light", "dark"):
                self.page.emulate_media(color_scheme=scheme)
                self.page.screenshot(
                    path=PICTURES / f"{name}-{scheme}.png",
                    full_page=height is None,
                    mask=[self.page.locator(hidden)],
                    mask_color="#808080",
                )


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    """Gives a browser with a fresh profile; its page may say nothing to the console."""
    visitors: list[Visitor] = []

    def visit_freshly(**options: Any) -> Visitor:
        context = chromium.new_context(**options)
        visitor = Visitor(context, context.new_page())
        visitors.append(visitor)
        context.on("request", lambda request: visitor.requests.append(request.url))
        context.on("console", lambda message: visitor.hear(message.text))
        context.on("weberror", lambda error: visitor.complaints.append(str(error.error)))
        return visitor

    yield visit_freshly
    for visitor in visitors:
        visitor.context.close()


@pytest.fixture
def visitor(visit: Visit) -> Visitor:
    """A browser with a fresh profile."""
    return visit()

"""Chromium for tests: the machine's own, driven by Playwright, and what a visit to a page leaves behind."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
)
SIZES = {"phone": (360, 740), "desktop": (1280, 900)}
STANDARD = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
"""WCAG 2.1, levels A and AA."""
PATIENCE_MS = 15_000


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a window."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found is not None, "there is no Chromium: install one (on Debian: apt-get install chromium)"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Reader:
    """One person's browser: its cookies, what it asked for, and what it complained of."""

    context: BrowserContext
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    async def open(self, url: str) -> Page:
        """A new tab on a page that has loaded."""
        tab = await self.context.new_page()
        await tab.goto(url)
        return tab

    def asked(self, method: str) -> list[str]:
        """The addresses asked for with a method, in order."""
        return [request.url for request in self.requests if request.method == method]


@asynccontextmanager
async def reader(browser: Browser, *, size: str = "phone", **options: Any) -> AsyncIterator[Reader]:
    """Somebody who was never here; the options are Playwright's for a context."""
    width, height = SIZES[size]
    context = await browser.new_context(viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(PATIENCE_MS)
    here = Reader(context)
    context.on("request", lambda request: here.requests.append(request))
    context.on("console", lambda said: here.complaints.append(said.text))
    context.on("weberror", lambda error: here.complaints.append(str(error.error)))
    try:
        yield here
    finally:
        await context.close()


async def faults(page: Page) -> list[str]:
    """What axe-core holds against the page as it stands."""
    found = await Axe().run(page, options=STANDARD)
    return [
        f"{fault['id']}: {fault['help']}: {[node['html'] for node in fault['nodes']]}"
        for fault in found.response["violations"]
    ]


async def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return int(await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


async def shoot(page: Page, path: Path) -> None:
    """A picture of the whole page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=path, full_page=True)

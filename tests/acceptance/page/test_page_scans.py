"""An opened page is one scan: under one name, of what somebody saw, and of nobody else's making."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, Response, Route, expect

from scan.language import read_languages
from tests.acceptance.page.world import CODES, World
from tests.chromium import faults, overflow, reader
from tests.servers import free_port

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("page")]

TEXTS = read_languages()["en"].texts
COUNTED, FAILED = TEXTS["history.note.counted"], TEXTS["history.note.failed"]
MOST_BYTES = 30 * 1024


async def fresh(world: World) -> str:
    return (await world.batch()).tokens[0]


async def counted(tab: Page) -> None:
    await expect(tab.get_by_text(COUNTED)).to_be_visible()


async def test_one_request_brings_the_page_and_one_more_scans_it(world: World, browser: Browser) -> None:
    code, answers = await fresh(world), list[Response]()
    async with reader(browser) as here:
        here.context.on("response", lambda response: answers.append(response))
        await counted(await here.open(world.page(code)))
        got, scanned = (request for request in here.requests if not request.url.startswith("data:"))
        assert (got.method, got.url) == ("GET", world.page(code))
        assert (scanned.method, urlsplit(scanned.url).path) == ("POST", f"/api/verify/{code}")
        page = next(answer for answer in answers if answer.url == got.url)
        assert (await page.all_headers())["content-encoding"] == "gzip"
        assert (await got.sizes())["responseBodySize"] <= MOST_BYTES
    assert await world.count(code) == 1


async def test_reload_back_and_forward_are_the_same_scan(world: World, browser: Browser) -> None:
    code, other = await fresh(world), await fresh(world)
    async with reader(browser) as here:
        tab = await here.open(world.page(code))
        await counted(tab)
        await expect(tab.locator("[data-note=first]")).to_be_visible()
        await tab.reload()
        await counted(tab)
        await expect(tab.locator("[data-note=first]")).to_be_visible()
        await tab.goto(world.page(other))
        await counted(tab)
        await tab.go_back()
        await counted(tab)
        await tab.go_forward()
        await counted(tab)
        assert [urlsplit(url).path for url in here.asked("POST")] == [f"/api/verify/{code}", f"/api/verify/{other}"]
        again = await here.open(world.page(code))
        await counted(again)
        await expect(again.locator("[data-say=count]")).to_have_text("2")
        await expect(again.locator("[data-note=first]")).to_be_hidden()
    assert await world.count(code) == 2


async def test_a_browser_has_one_name_that_no_script_can_read(world: World, browser: Browser) -> None:
    async with reader(browser) as here:
        tab = await here.open(world.page(await fresh(world)))
        await counted(tab)
        [cookie] = await here.context.cookies()
        assert (cookie["name"], cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == (
            *("vt_install", "/", True),
            "Lax",
        )
        assert re.fullmatch("[0-9a-f]{32}", cookie["value"])
        assert await tab.evaluate("document.cookie") == ""
        [scan] = [request for request in here.requests if request.method == "POST"]
        assert (await scan.all_headers())["cookie"] == f"vt_install={cookie['value']}"
        await counted(await here.open(world.page(await fresh(world))))
        assert await here.context.cookies() == [cookie]


async def test_a_scan_that_was_not_counted_is_repeated_by_loading_again(world: World, browser: Browser) -> None:
    code = await fresh(world)

    async def away(route: Route) -> None:
        await route.abort()

    async def busy(route: Route) -> None:
        await route.fulfill(status=429, json={"code": 8})

    async with reader(browser) as here:
        await here.context.route("**/api/verify/*", away)
        tab = await here.open(world.page(code))
        await expect(tab.get_by_text(FAILED)).to_be_visible()
        await here.context.unroute("**/api/verify/*")
        await here.context.route("**/api/verify/*", busy)
        await tab.reload()
        await expect(tab.get_by_text(TEXTS["history.note.limited"])).to_be_visible()
        assert await world.count(code) == 0
        await here.context.unroute("**/api/verify/*")
        await tab.reload()
        await counted(tab)
    assert await world.count(code) == 1


async def test_a_tab_that_nobody_looks_at_scans_nothing_until_it_is_seen(world: World, browser: Browser) -> None:
    code = await fresh(world)
    hidden = "Object.defineProperty(Document.prototype, 'visibilityState', {configurable: true, get: () => seen})"
    async with reader(browser) as here:
        await here.context.add_init_script(
            f"let seen = 'hidden'; {hidden}; addEventListener('focus', () => seen = 'visible')"
        )
        tab = await here.open(world.page(code))
        await expect(tab.get_by_text(TEXTS["history.note.before"])).to_be_visible()
        assert here.asked("POST") == []
        await tab.evaluate("dispatchEvent(new Event('focus')); document.dispatchEvent(new Event('visibilitychange'))")
        await counted(tab)
        assert len(here.asked("POST")) == 1


@pytest.mark.parametrize("name", ["first", "suspicious", "recalled", "unknown", "malformed"])
async def test_without_scripts_the_verdict_is_there_and_nothing_is_counted(
    world: World, browser: Browser, name: str
) -> None:
    face, make = CODES[name]
    code = await make(world)
    before = await world.count(code) if face != "malformed" else 0
    async with reader(browser, java_script_enabled=False) as here:
        tab = await here.open(world.page(code))
        await expect(tab.locator("h1")).to_have_text(TEXTS[f"verdict.{face}.title"])
        await expect(tab.get_by_text(TEXTS["report.otherwise"])).to_be_visible()
        await expect(tab.get_by_text(TEXTS["report.open"])).to_be_hidden()
        if face not in ("unknown", "malformed"):
            await expect(tab.get_by_text(TEXTS["history.note.before"])).to_be_visible()
            assert await world.count(code) == before
        assert here.asked("POST") == []


async def test_what_changed_since_the_page_was_made_is_said(world: World, browser: Browser) -> None:
    """The answer to the scan is another one than the page was made from."""
    code = await fresh(world)
    told = {
        "verdict": "VERDICT_BLOCKED",
        "checks": [{"name": "CHECK_NAME_PRODUCT", "outcome": "CHECK_OUTCOME_FAILED"}],
        "degraded": True,
        "product": {"productId": "x"},
        "firstScan": False,
        "scanCount": 7,
        "firstScannedAt": "2026-03-05T07:04:09.123456Z",
        "recorded": True,
        "risk": {
            "total": 60,
            "factors": [
                {
                    "name": "RISK_FACTOR_NAME_TRAVEL",
                    "score": 50,
                    "code": "impossible",
                    "evidence": {"km": "9000", "minutes": "4", "jumps": "2"},
                },
                {"name": "RISK_FACTOR_NAME_LIFECYCLE", "score": 100, "code": "withdrawn", "evidence": {}},
            ],
        },
    }

    async def say(route: Route) -> None:
        await route.fulfill(json=told)

    async with reader(browser) as here:
        await here.context.route("**/api/verify/*", say)
        tab = await here.open(world.page(code))
        await expect(tab.locator("h1")).to_have_text(TEXTS["verdict.blocked.title"])
        await expect(tab).to_have_title(f"{TEXTS['verdict.blocked.title']} · VokeTag")
        for key in ("verdict.blocked.lead", "verdict.blocked.advice", "degraded.title", "checks.product.failed"):
            await expect(tab.get_by_text(TEXTS[key])).to_be_visible()
        travel = TEXTS["risk.travel.impossible"].format(km=9000, minutes=4, jumps=2)
        await expect(tab.locator("[data-say=found] li")).to_have_text([travel, TEXTS["risk.lifecycle.withdrawn"]])
        await expect(tab.locator("[data-say=count]")).to_have_text("7")
        await expect(tab.locator("[data-say=first]")).to_have_text("5 March 2026, 07:04 UTC")
        await expect(tab.locator("[data-check=product] .outcome")).to_have_text(TEXTS["checks.failed"])
        await expect(tab.locator("[data-say=icon] use")).to_have_attribute("href", "#icon-blocked")
        assert await faults(tab) == []
        assert await overflow(tab) <= 0
        assert here.complaints == []


@asynccontextmanager
async def another_site(body: str) -> AsyncIterator[str]:
    """A site of somebody else; it has to be on this machine too, or the browser itself lets nothing through."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=f"<!doctype html>{body}", content_type="text/html")

    application = web.Application()
    application.router.add_get("/", answer)
    runner, port = web.AppRunner(application), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://localhost:{port}/"
    finally:
        await runner.cleanup()


async def test_another_site_cannot_scan_for_a_reader(world: World, browser: Browser) -> None:
    code, answers = await fresh(world), list[tuple[str, int]]()
    attempts = """async ([scan, page]) => {
        const kinds = ['application/json', 'text/plain', undefined];
        for (const mode of ['cors', 'no-cors']) for (const kind of kinds) for (const body of ['{}', undefined]) {
            const headers = kind ? {'content-type': kind} : {};
            await fetch(scan, {method: 'POST', mode, body, headers, credentials: 'include'}).catch(() => {});
        }
        const image = new Image();
        const shown = new Promise((done) => image.onload = image.onerror = done);
        image.src = page;
        await shown;
    }"""
    async with reader(browser) as here, another_site("") as site:
        here.context.on("response", lambda answer: answers.append((answer.request.method, answer.status)))
        tab = await here.open(site)
        await tab.evaluate(attempts, [f"{world.edge}/api/verify/{code}", world.page(code)])
        assert await here.context.cookies() == []
        posts = [status for method, status in answers if method == "POST"]
        assert posts, "some came through to the edge"
        assert set(posts) == {415}
    assert await world.count(code) == 0


async def test_the_page_stands_in_no_frame_of_another_site(world: World, browser: Browser) -> None:
    code = await fresh(world)
    frame = f'<iframe src="{world.page(code)}"></iframe>'
    async with reader(browser) as here, another_site(frame) as site:
        await here.open(site)
        assert any("frame-ancestors" in complaint for complaint in here.complaints)
        assert here.asked("POST") == []
        assert await here.context.cookies() == []
    assert await world.count(code) == 0

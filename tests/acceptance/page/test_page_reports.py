"""The report on the page, by hand and by keyboard: what is sent, what never is, and what is said when it fails."""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from scan.language import read_languages
from tests.acceptance.page.world import World
from tests.chromium import Reader, faults, overflow, reader, shoot
from tests.integration.scan.world import connected

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("page")]

LANGUAGES = read_languages()
TEXTS = LANGUAGES["en"].texts
PHOTO = b"\xff\xd8\xff\xe0 a picture of the cap"
SEEN = "The cap is blue.\nOn the page it is green."


async def opened(here: Reader, world: World, code: str = "") -> Page:
    tab = await here.open(world.page(code or (await world.batch()).tokens[0]))
    await tab.locator("summary").click()
    return tab


async def fill(tab: Page) -> None:
    await tab.get_by_label(TEXTS["report.kind.pack_differs"]).check()
    await tab.get_by_label(TEXTS["report.seen"]).fill(SEEN)


async def send(tab: Page) -> None:
    await tab.get_by_role("button", name=TEXTS["report.send"]).click()


def bodies(here: Reader) -> list[dict[str, Any]]:
    """The reports that went out."""
    sent = [request for request in here.requests if request.url.endswith("/api/fraud/report")]
    return [json.loads(request.post_data or "") for request in sent]


async def kept(world: World, case_id: str) -> list[Any]:
    async with connected(world.database.owner_dsn) as owner:
        return await owner.fetch("SELECT * FROM scan.fraud_reports WHERE case_id = $1::uuid", case_id)


async def test_a_report_is_sent_with_the_photo_s_hash_and_no_photo(
    world: World, browser: Browser, tmp_path: Path
) -> None:
    batch = await world.batch()
    (tmp_path / "cap.jpg").write_bytes(PHOTO)
    async with reader(browser) as here:
        tab = await opened(here, world, batch.tokens[0])
        await fill(tab)
        await tab.get_by_label(TEXTS["report.contact"]).fill("ana@example.com")
        await tab.get_by_label(TEXTS["report.photo"]).set_input_files(tmp_path / "cap.jpg")
        await send(tab)
        await expect(tab.get_by_role("heading", name=TEXTS["report.done"])).to_be_visible()
        case_id = await tab.locator("[data-case]").inner_text()
        [body] = bodies(here)
        digest = hashlib.sha256(PHOTO).digest()
        assert body["photo"] == {"sha256": base64.b64encode(digest).decode(), "mediaType": "image/jpeg"}
        assert body["token"] == batch.tokens[0]
        assert "cap.jpg" not in json.dumps(body)
        [report] = await kept(world, case_id)
        assert (report["kind"], report["text"], report["product_id"]) == ("PACK_DIFFERS", SEEN, batch.product_ids[0])
        assert report["photo_sha256"] == digest
        [request] = [request for request in here.requests if request.url.endswith("/api/fraud/report")]
        assert "cookie" not in await request.all_headers(), "a report does not say which browser it is from"
        assert await faults(tab) == []
        assert here.complaints == []


async def test_a_report_by_keyboard(world: World, browser: Browser) -> None:
    async with reader(browser, size="desktop") as here:
        tab = await here.open(world.page("not-a-code"))
        await tab.keyboard.press("Tab")
        await expect(tab.get_by_text(TEXTS["skip"])).to_be_focused()
        await tab.keyboard.press("Tab")
        await expect(tab.locator("summary")).to_be_focused()
        await tab.keyboard.press("Enter")
        await tab.keyboard.press("Tab")
        await tab.keyboard.press("Space")
        await expect(tab.get_by_label(TEXTS["report.kind.looks_fake"])).to_be_checked()
        await tab.keyboard.press("Tab")
        await tab.keyboard.type("It smells of paint.")
        for _ in range(3):
            await tab.keyboard.press("Tab")
        await expect(tab.get_by_role("button", name=TEXTS["report.send"])).to_be_focused()
        await tab.keyboard.press("Enter")
        await expect(tab.locator("#reported")).to_be_focused()
        [report] = await kept(world, await tab.locator("[data-case]").inner_text())
        assert (report["code"], report["text"]) == ("not-a-code", "It smells of paint.")


@pytest.mark.parametrize(
    ("tag", "size", "scheme"), [("en", "phone", "light"), ("pt-BR", "desktop", "dark"), ("es", "phone", "dark")]
)
async def test_what_is_missing_is_said_beside_its_field(
    world: World, browser: Browser, tmp_path: Path, tag: str, size: str, scheme: str
) -> None:
    texts = LANGUAGES[tag].texts
    folder = Path(os.environ.get("VOKETAG_PICTURES", tmp_path))
    (tmp_path / "cap.gif").write_bytes(b"GIF89a")
    async with reader(browser, size=size, locale=tag, color_scheme=scheme) as here:
        tab = await opened(here, world)
        await shoot(tab, folder / f"report.{tag}.png")
        assert await faults(tab) == []
        await tab.get_by_label(texts["report.contact"]).fill("nobody")
        await tab.get_by_label(texts["report.photo"]).set_input_files(tmp_path / "cap.gif")
        await tab.get_by_label(texts["report.seen"]).fill(" \n ")
        await tab.get_by_role("button", name=texts["report.send"]).click()
        for fault in ("kind", "text", "contact", "photo"):
            await expect(tab.get_by_text(texts[f"report.fault.{fault}"])).to_be_visible()
        await expect(tab.get_by_label(texts["report.kind.looks_fake"])).to_be_focused()
        seen = tab.get_by_label(texts["report.seen"])
        await expect(seen).to_have_attribute("aria-invalid", "true")
        await expect(seen).to_have_accessible_description(texts["report.fault.text"])
        await shoot(tab, folder / f"report-faults.{tag}.png")
        assert await faults(tab) == []
        assert await overflow(tab) <= 0
        assert bodies(here) == []
        await seen.fill("!")
        await tab.get_by_role("button", name=texts["report.send"]).click()
        await expect(tab.get_by_text(texts["report.fault.text"])).to_be_hidden()
        await expect(tab.get_by_text(texts["report.fault.kind"])).to_be_visible()
        await expect(seen).not_to_have_attribute("aria-invalid", "true")


async def test_a_report_whose_answer_is_lost_is_taken_once(world: World, browser: Browser) -> None:
    async def lost(route: Route) -> None:
        await route.fetch()
        await route.abort()

    async with reader(browser) as here:
        tab = await opened(here, world)
        await here.context.route("**/api/fraud/report", lost)
        await fill(tab)
        await send(tab)
        await expect(tab.get_by_text(TEXTS["report.fault.failed"])).to_be_visible()
        await here.context.unroute("**/api/fraud/report")
        await send(tab)
        await expect(tab.get_by_role("heading", name=TEXTS["report.done"])).to_be_visible()
        first, second = bodies(here)
        assert first == second
        assert len(await kept(world, await tab.locator("[data-case]").inner_text())) == 1


@pytest.mark.parametrize(("status", "fault"), [(429, "limited"), (400, "refused"), (503, "failed")])
async def test_a_refusal_is_said_and_nothing_that_was_written_is_lost(
    world: World, browser: Browser, status: int, fault: str
) -> None:
    async def refuse(route: Route) -> None:
        await route.fulfill(status=status, json={"code": 3})

    async with reader(browser) as here:
        tab = await opened(here, world)
        await here.context.route("**/api/fraud/report", refuse)
        await fill(tab)
        await send(tab)
        await expect(tab.get_by_role("alert").get_by_text(TEXTS[f"report.fault.{fault}"])).to_be_visible()
        await expect(tab.get_by_label(TEXTS["report.seen"])).to_have_value(SEEN)
        await here.context.unroute("**/api/fraud/report")
        await tab.get_by_label(TEXTS["report.seen"]).fill("Another text.")
        await send(tab)
        await expect(tab.get_by_role("heading", name=TEXTS["report.done"])).to_be_visible()
        first, second = bodies(here)
        assert first["requestId"] != second["requestId"], "another text is another report"

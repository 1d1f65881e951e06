"""Parts of us are away: the page still says what is known, and says what is not."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from voketag.scan.v1 import scan_pb2

from scan.language import read_languages
from tests.acceptance.page.world import World, opened
from tests.chromium import faults, overflow, reader, shoot

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("page")]

LANGUAGES = read_languages()
LOOKS = {
    "en": {"size": "desktop", "locale": "en-GB", "color_scheme": "dark"},
    "pt-BR": {"size": "phone", "locale": "pt-BR", "color_scheme": "light"},
    "es": {"size": "phone", "locale": "es", "color_scheme": "dark"},
}


@pytest_asyncio.fixture(loop_scope="session")
async def broken(tmp_path: Path) -> AsyncIterator[World]:
    """A world that may be broken."""
    async with opened(tmp_path) as world:
        yield world


async def until(world: World, code: str, check: int, outcome: int) -> None:
    """The service has found out."""
    async with asyncio.timeout(20):
        while True:
            answer = await world.stub.LookupTag(scan_pb2.LookupTagRequest(token=code))
            if answer.checks[check].outcome == outcome:
                return
            await asyncio.sleep(0.05)


async def test_each_part_that_is_away_is_said(broken: World, browser: Browser, tmp_path: Path) -> None:
    known, cold = (await broken.batch()).tokens[0], (await broken.batch()).tokens[0]
    await broken.scan(known)
    await broken.valkey.kill()
    await until(broken, known, 2, scan_pb2.CHECK_OUTCOME_NOT_CHECKED)
    await looked_at(broken, browser, tmp_path, known, away="valkey")
    await broken.postgres.kill()
    await until(broken, cold, 1, scan_pb2.CHECK_OUTCOME_NOT_CHECKED)
    await looked_at(broken, browser, tmp_path, cold, away="both")
    await broken.valkey.start()
    await until(broken, known, 2, scan_pb2.CHECK_OUTCOME_PASSED)
    await looked_at(broken, browser, tmp_path, cold, away="postgres")


async def looked_at(world: World, browser: Browser, folder: Path, code: str, *, away: str) -> None:
    """The page in three languages while a part is away."""
    folder = Path(os.environ.get("VOKETAG_PICTURES", folder))
    for tag, look in LOOKS.items():
        texts = LANGUAGES[tag].texts
        async with reader(browser, **look) as here:
            tab = await here.open(world.page(code))
            note = "history.note.unrecorded" if away == "both" else "history.note.counted"
            said = ["verdict.genuine.title", "degraded.title", note]
            said += ["product.absent", "checks.product.not_checked"] if away != "valkey" else ["product.compare"]
            said += ["history.unknown", "checks.scan_history.not_checked"] if away != "postgres" else []
            for key in said:
                await expect(tab.get_by_text(texts[key])).to_be_visible()
            await shoot(tab, folder / f"away-{away}.{tag}.png")
            assert await faults(tab) == []
            assert await overflow(tab) <= 0
            assert here.complaints == []
            assert len(here.asked("POST")) == 1

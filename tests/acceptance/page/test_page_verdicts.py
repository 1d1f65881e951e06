"""What every page says, in real Chromium through a real edge: sound, accessible, complete, and all from one place."""

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from scan.language import read_languages
from tests.acceptance.page.world import CODES, ONE_PHONE, World
from tests.chromium import Reader, faults, overflow, reader, shoot

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("page")]

LANGUAGES = read_languages()
PLACE = {name: value for name, value in ONE_PHONE if name == "x-client-place"}
LOOKS: dict[str, dict[str, Any]] = {
    "en": {"size": "phone", "locale": "en-GB", "color_scheme": "light"},
    "pt-BR": {"size": "phone", "locale": "pt-BR", "color_scheme": "dark"},
    "es": {"size": "desktop", "locale": "es-MX", "color_scheme": "light"},
}
"""How the page is looked at in each language; pictures of it are kept in $VOKETAG_PICTURES."""


async def sound(here: Reader, world: World) -> None:
    """Nothing was complained of, and nobody else was asked for anything."""
    assert here.complaints == []
    assert [request.url for request in here.requests if not request.url.startswith((world.edge, "data:"))] == []


@pytest.mark.parametrize("tag", LOOKS)
@pytest.mark.parametrize("name", CODES)
async def test_every_page_is_sound_in_every_language(
    world: World, browser: Browser, tmp_path: Path, name: str, tag: str
) -> None:
    face, make = CODES[name]
    code, texts = await make(world), LANGUAGES[tag].texts
    before = await world.count(code) if face not in ("unknown", "malformed") else 0
    folder = Path(os.environ.get("VOKETAG_PICTURES", tmp_path))
    async with reader(browser, **LOOKS[tag], extra_http_headers=PLACE) as here:
        tab = await here.open(world.page(code))
        if face not in ("unknown", "malformed"):
            await expect(tab.get_by_text(texts["history.note.counted"])).to_be_visible()
            await expect(tab.locator("[data-say=count]")).to_have_text(str(before + 1))
            await expect(tab.locator("[data-note=first]")).to_be_visible(visible=before == 0)
        await expect(tab.locator("h1")).to_have_text(texts[f"verdict.{face}.title"])
        await expect(tab.locator("html")).to_have_attribute("lang", tag)
        await shoot(tab, folder / f"{name}.{tag}.png")
        assert await faults(tab) == []
        assert await overflow(tab) <= 0
        await sound(here, world)

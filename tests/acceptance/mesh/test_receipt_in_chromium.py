"""The receipt checked in the reader's own browser, on the page of a whole mesh, against the chain it is anchored on."""

import os
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect
from voketag.factory.v1 import factory_pb2

from scan.language import read_languages
from tests.chromium import chromium, faults, overflow, reader, shoot
from tests.meshes import Mesh
from tests.servers import free_port

pytestmark = pytest.mark.xdist_group("mesh")
Batch = factory_pb2.CreateBatchResponse
TEXTS = read_languages()["en"].texts


async def check(tab: Page, endpoint: str, *said: str) -> None:
    """Checks against a node, none when it is '', and sees nothing but what is to be said."""
    await tab.get_by_label(TEXTS["check.endpoint"]).fill(endpoint)
    await tab.get_by_role("button", name=TEXTS["check.button"]).click()
    shown = tab.locator("#check li").filter(visible=True)
    await expect(shown).to_have_text([TEXTS[f"check.{line}"] for line in said])


async def test_the_browser_checks_the_receipt_itself(mesh: Mesh, batch: Batch, tmp_path: Path) -> None:
    proven = ("product_in_batch.passed", "batch_in_anchor.passed")
    async with chromium() as browser, reader(browser) as here:
        tab = await here.open(f"{mesh.edge}/r/{batch.products[9].token}")
        await check(tab, "", *proven, "anchor_on_chain.not_checked")
        await check(tab, mesh.chain, *proven, "anchor_on_chain.passed")
        await expect(tab.locator("[data-place=chain_id]")).to_have_text("31337")
        await shoot(tab, Path(os.environ.get("VOKETAG_PICTURES", tmp_path)) / "receipt.en.png")
        assert await faults(tab) == []
        assert await overflow(tab) <= 0
        assert here.complaints == []
        asked = {request.url for request in here.requests if not request.url.startswith(("data:", mesh.edge))}
        assert {url.rstrip("/") for url in asked} == {mesh.chain}, "nobody but the node that was named"
        await check(tab, f"http://127.0.0.1:{free_port()}", *proven, "anchor_on_chain.not_checked")


async def test_a_forged_receipt_is_found_out(mesh: Mesh, batch: Batch) -> None:
    ours, others = (mesh.ask("GET", f"/api/receipt/{batch.products[place].token}").body.decode() for place in (8, 9))
    forged = ours.replace('"index":8', '"index":7')
    assert forged != ours
    given = [forged, others, "{}"]

    async def give(route: Route) -> None:
        await route.fulfill(body=given.pop(0))

    async with chromium() as browser, reader(browser) as here:
        await here.context.route("**/api/receipt/*", give)
        tab = await here.open(f"{mesh.edge}/r/{batch.products[8].token}")
        await check(tab, mesh.chain, "product_in_batch.failed", "batch_in_anchor.passed", "anchor_on_chain.passed")
        await check(tab, mesh.chain, "malformed")
        await check(tab, mesh.chain, "malformed")
        assert not given

"""GetPage through the public door: a page for every text, in three languages, that counts nothing."""

import re
from typing import Any

import pytest
from google.api.httpbody_pb2 import HttpBody
from voketag.scan.v1 import scan_pb2

from mesh.clock import new_id
from scan.language import read_languages
from tests.integration.scan.calls import Stub, verify
from tests.integration.scan.world import Database, anywhere, token_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

LANGUAGES = read_languages()


async def page(stub: Stub, token: str, language: str = "") -> tuple[dict[str, Any], str]:
    metadata = (*anywhere(), *((("accept-language", language),) if language else ()))
    call = stub.GetPage(scan_pb2.GetPageRequest(token=token), metadata=metadata, timeout=10)
    headers = dict(await call.initial_metadata())
    body: HttpBody = await call
    assert body.content_type == "text/html; charset=utf-8"
    return headers, body.data.decode()


@pytest.mark.parametrize(("accept", "tag"), [("", "en"), ("pt-BR,pt;q=0.9", "pt-BR"), ("es-MX", "es"), ("de", "en")])
async def test_the_page_speaks_the_readers_language(stub: Stub, database: Database, accept: str, tag: str) -> None:
    headers, html = await page(stub, (await database.batch(state="COMPLETED")).tokens[0], accept)
    assert headers["content-language"] == tag
    assert headers["vary"] == "accept-language"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert f'<html lang="{tag}">' in html
    assert LANGUAGES[tag].texts["verdict.genuine.title"] in html
    assert "F&aacute;brica" not in html
    assert "Fábrica &amp; Filhos &lt;b&gt;Ltda&lt;/b&gt;" in html


async def test_looking_counts_nothing(stub: Stub, database: Database) -> None:
    token = (await database.batch()).tokens[0]
    texts = LANGUAGES["en"].texts
    for _ in range(3):
        assert texts["history.none"] in (await page(stub, token))[1]
    assert (await verify(stub, token)).first_scan
    await verify(stub, token)
    assert '<strong data-say="count">2</strong> <span data-say="scans">scans</span>' in (await page(stub, token))[1]


async def test_each_verdict_has_its_page(stub: Stub, database: Database) -> None:
    texts = LANGUAGES["en"].texts
    pages = {
        (await database.batch(state="CANCELLED")).tokens[0]: "blocked",
        (await database.batch(kid=3)).tokens[0]: "blocked",
        token_of(new_id()): "unknown",
        token_of(new_id(), 9): "unknown",
        (await database.batch()).tokens[0].lower(): "genuine",
        "nonsense": "malformed",
        "<script>alert(1)</script>": "malformed",
        "é" * 512: "malformed",
        "0" * 49: "malformed",
    }
    for text, face in pages.items():
        html = (await page(stub, text))[1]
        assert f'<h1 id="verdict" data-say="title">{texts[f"verdict.{face}.title"]}</h1>' in html, text
        assert "<script>alert" not in html


async def test_a_browser_is_named_once(stub: Stub, database: Database) -> None:
    token = (await database.batch()).tokens[0]

    async def named(cookie: str, text: str = token) -> str:
        call = stub.GetPage(scan_pb2.GetPageRequest(token=text), metadata=(*anywhere(), ("cookie", cookie)))
        return str(dict(await call.initial_metadata()).get("set-cookie", ""))

    given = await named("")
    assert re.fullmatch("vt_install=[0-9a-f]{32}; Max-Age=31536000; Path=/; HttpOnly; SameSite=Lax", given)
    name = given.partition(";")[0]
    assert not await named(f"a=b; {name}; c=d")
    for malformed in (name[:-1], name.upper(), f"{name}0", "vt_install=", f"x{name}", "vt_install=é".encode().hex()):
        assert (await named(malformed)).partition(";")[0] not in ("", name), malformed
    assert not await named("", "nonsense"), "what is no code is not scanned"
    assert await named("", token_of(new_id()))

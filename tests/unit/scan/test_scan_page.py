"""The page: sound HTML, a policy that its own parts keep, and no text that escapes."""

import base64
import gzip
import hashlib
import json
import re
import subprocess
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest
from voketag.scan.v1 import scan_pb2

from scan.card import Card, Found
from scan.counts import History
from scan.factors import FactorName, ProductState
from scan.language import Language, read_languages
from scan.page import Page
from scan.verdict import UNKNOWN, Outcome, judge
from scan.verify import Answer
from tests.nodejs import node
from trust.keyring import KeyState
from trust.token import Checked

PAGE, LANGUAGES = Page(), read_languages()
NOW = datetime(2026, 11, 22, 21, 30, tzinfo=UTC)
SINCE = round(NOW.timestamp()) * 1_000_000
PRODUCT = UUID("019aab12-3456-7abc-8def-0123456789ab")
CODE = "04" * 25
HOSTILE = """"><script src="https://evil.example/x.js"></script><img src=x onerror=alert(1)>{{ 7 * 7 }}'&amp;"""
UNSEEN = {"style", "script"}
VOID = {"meta", "link", "path", "img", "br", "input"}


class Document(HTMLParser):
    """The elements of a page; fails on tags that do not nest."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.source = page.decode()
        self.open: list[str] = []
        self.hidden: list[bool] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.parts: list[tuple[str, str]] = []
        self.shown: list[str] = []
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
            self.hidden.append("hidden" in dict(attrs) or tag in UNSEEN or any(self.hidden))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.hidden.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.parts.append((self.open[-1], data))
            self.shown += [] if self.hidden[-1] else [data]

    def within(self, tag: str) -> list[str]:
        return [data for parent, data in self.parts if parent == tag]

    def bodies(self, tag: str, **attributes: str) -> list[str]:
        """What is in the elements of this name with exactly these attributes; each holds text alone."""
        opening = " ".join((tag, *(f'{name}="{value}"' for name, value in attributes.items())))
        return re.findall(f"<{opening}>(.*?)</{tag}>", self.source, re.DOTALL)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        """What is to be seen without a script."""
        return " ".join(" ".join(self.shown).split())


def card(state: str = "COMPLETED", **attributes: str) -> Card:
    given = attributes or {"name": "Café", "gtin": "07613269795179", "market": "BR"}
    return Card(PRODUCT, UUID(int=7), UUID(int=9), 3, 1, ProductState.CREATED, state, "Fábrica & Filhos", given)


def answered(
    state: str = "COMPLETED", *, key: KeyState = KeyState.SIGNING, history: History | None = None, known: bool = True
) -> Answer:
    found = Found(card(state), True) if known else None
    judgement = judge(Checked(PRODUCT.bytes, 1, key), found, history)
    return Answer(judgement, found.card if found else None, history, NOW)


CASES: dict[str, Answer | None] = {
    "genuine": answered(history=History(3, SINCE, "PT")),
    "first": answered("PENDING", history=History(0)),
    "cancelled": answered("CANCELLED", history=History(1, SINCE)),
    "revoked": answered(key=KeyState.REVOKED, history=History(1, SINCE)),
    "degraded": answered(known=False),
    "unknown": Answer(UNKNOWN, None, None, NOW),
    "malformed": None,
}


def test_first_scan_is_told_with_its_country_where_that_is_known() -> None:
    def region(case: str) -> str:
        page = PAGE.write(CODE, CASES[case], LANGUAGES["en"]).decode()
        return page.partition('<span data-say="region">')[2].partition("</span>")[0]

    assert region("genuine") == ", PT"
    assert region("cancelled") == ""


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=list(LANGUAGES))
@pytest.mark.parametrize("case", CASES)
def test_every_page_is_sound_and_accessible(case: str, language: Language) -> None:
    page = PAGE.write(CODE, CASES[case], language)
    document = Document(page)
    assert page.startswith(b"<!doctype html>")
    assert document.all("html") == [{"lang": language.tag}]
    assert len(document.all("main")) == len(document.all("h1")) == len(document.all("title")) == 1
    assert document.all("header")
    assert document.all("footer")
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [attributes["aria-labelledby"] for attributes in document.all("section")]
    assert set(labels) <= set(ids)
    assert document.all("a")[0]["href"] == "#result"
    assert all(attributes.get("aria-hidden") == "true" for attributes in document.all("svg"))
    levels = [int(tag[1]) for tag, _ in document.elements if tag in {"h1", "h2", "h3"}]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(gzip.compress(page)) <= 30 * 1024


@pytest.mark.parametrize("case", CASES)
def test_the_policy_allows_the_page_and_nothing_else(case: str) -> None:
    page = PAGE.write(CODE, CASES[case], LANGUAGES["en"])
    document = Document(page)
    policy = dict(part.strip().split(" ", 1) for part in PAGE.policy.split(";"))
    [style] = document.bodies("style")
    assert policy["style-src"] == _source(style)
    allowed = policy["script-src"].split()
    assert [_source(script) for script in document.bodies("script", type="module")] == allowed[: 1 + bool(_links(case))]
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in PAGE.policy
    names = {name for _, attributes in document.elements for name in attributes}
    assert "style" not in names
    assert not {name for name in names if name.startswith("on")}
    kinds = [script["type"] for script in document.all("script")]
    assert kinds == ["application/json"] * (CASES[case] is not None) + ["module"] * (1 + bool(_links(case)))
    addresses = [a.get("href", a.get("src", "")) for tag, a in document.elements if tag in {"link", "img", "a"}]
    assert all(address.startswith(("#", "data:", f"/api/receipt/{CODE}")) for address in addresses)
    assert b"url(" not in page
    assert b"@import" not in page


@pytest.mark.parametrize("field", ["name", "gtin", "market", "note"])
def test_hostile_attributes_stay_text(field: str) -> None:
    hostile = Card(
        PRODUCT, UUID(int=7), UUID(int=9), 3, 1, ProductState.CREATED, "COMPLETED", HOSTILE, {field: HOSTILE}
    )
    judgement = judge(Checked(PRODUCT.bytes, 1, KeyState.SIGNING), Found(hostile, True), History(1, SINCE))
    document = Document(PAGE.write(CODE, Answer(judgement, hostile, History(1, SINCE), NOW), LANGUAGES["en"]))
    assert document.all("script") == Document(PAGE.write(CODE, CASES["genuine"], LANGUAGES["en"])).all("script")
    assert not document.all("img")
    assert document.within("dd").count(HOSTILE) == 2


def test_hostile_text_in_the_link_stays_text() -> None:
    document = Document(PAGE.write(HOSTILE[:50], None, LANGUAGES["en"]))
    assert HOSTILE[:50] in document.text
    assert [script["type"] for script in document.all("script")] == ["module"]
    assert document.all("form")[0]["data-code"] == HOSTILE[:50]
    assert "<" * 61 not in Document(PAGE.write("<" * 512, None, LANGUAGES["en"])).text


def test_what_is_said_of_a_genuine_code() -> None:
    texts = LANGUAGES["en"].texts
    said = Document(PAGE.write(CODE, CASES["genuine"], LANGUAGES["en"])).text
    for expected in ("This code is ours", "Café", "07613269795179", "BR", "Fábrica & Filhos", "22 November 2026"):
        assert expected in said
    assert texts["verdict.genuine.advice"] in said
    assert texts["item.text"] in said
    assert f"3 {texts['history.other']}" in said
    assert "voketag verify receipt.json" in said
    assert "authentic" not in said.lower()


def test_a_receipt_is_offered_where_there_is_one() -> None:
    assert _links("genuine") == [f"/api/receipt/{CODE}"]
    assert _links("first") == _links("cancelled") == _links("unknown") == _links("degraded") == []


def test_the_scripts_are_modules_that_import_nothing(tmp_path: Path) -> None:
    document = Document(PAGE.write(CODE, CASES["genuine"], LANGUAGES["en"]))
    for number, script in enumerate(document.bodies("script", type="module")):
        assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
        (tmp_path / f"{number}.mjs").write_text(script)
        subprocess.run([node(), "--check", str(tmp_path / f"{number}.mjs")], check=True, timeout=60)


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=list(LANGUAGES))
def test_the_page_holds_every_line_that_its_script_may_show(language: Language) -> None:
    document = Document(PAGE.write(CODE, CASES["genuine"], language))
    lines = {attributes["data-line"] for _, attributes in document.elements if "data-line" in attributes}
    steps = {"product_in_batch": "PF", "batch_in_anchor": "PFN", "anchor_on_chain": "PFN", "evidence": "PFN"}
    outcomes = {"P": "PASSED", "F": "FAILED", "N": "NOT_CHECKED"}
    expected = {f"{step}.{outcomes[letter]}" for step, letters in steps.items() for letter in letters}
    assert lines == expected | {"malformed", "unreachable", "place"}


def test_what_was_not_checked_is_said() -> None:
    texts = LANGUAGES["en"].texts
    said = Document(PAGE.write(CODE, CASES["degraded"], LANGUAGES["en"])).text
    for key in ("degraded.title", "product.absent", "history.unknown", "checks.scan_history.not_checked"):
        assert texts[key] in said
    assert texts["degraded.title"] not in Document(PAGE.write(CODE, CASES["genuine"], LANGUAGES["en"])).text


def test_a_revoked_key_and_a_withdrawn_batch_warn_alike() -> None:
    for case, failed in (("revoked", "checks.tag.failed"), ("cancelled", "checks.product.failed")):
        said = Document(PAGE.write(CODE, CASES[case], LANGUAGES["en"])).text
        assert LANGUAGES["en"].texts["verdict.blocked.title"] in said
        assert LANGUAGES["en"].texts[failed] in said


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=list(LANGUAGES))
def test_the_scan_s_answer_can_be_said(language: Language) -> None:
    """Every verdict, outcome and finding has its text beside the page's script, and its icon."""
    document = Document(PAGE.write(CODE, CASES["genuine"], language))
    [text] = re.findall(r'<script type="application/json" id="told">(.*?)</script>', document.source)
    told = json.loads(text)
    assert told["code"] == CODE
    assert told["faces"] == {name: name[8:].lower().removesuffix("_code") for name in scan_pb2.Verdict.keys()[1:]}
    parts = {f"verdict.{face}.{part}" for face in told["faces"].values() for part in ("title", "lead", "advice")}
    codes = ("ordinary", "possible", "inside", "none", "not_checked")
    harmless = {f"risk.{name.value}.{code}" for name in FactorName for code in codes}
    marks = [outcome.value for outcome in Outcome]
    checks = {f"checks.{name}.{mark}" for name in ("tag", "product", "scan_history", "anchor") for mark in marks}
    found = {key for key in language.texts if key.startswith("risk.") and key.count(".") == 2} - harmless
    others = {"history.one", "history.other", "date", *(f"checks.{mark}" for mark in marks)}
    assert told["texts"].keys() >= parts | checks | found | others
    icons = {symbol["id"] for symbol in document.all("symbol")}
    assert icons >= {f"icon-{name}" for name in (*told["faces"].values(), *marks)}


def test_hostile_text_in_what_the_script_reads_stays_text() -> None:
    answer = CASES["genuine"]
    page = PAGE.write(CODE, answer, Language("en", LANGUAGES["en"].texts | {"date": HOSTILE}, ("",) * 12))
    [told] = re.findall(b'<script type="application/json" id="told">(.*?)</script>', page)
    assert json.loads(told)["texts"]["date"] == HOSTILE
    assert not set(b"<>&'") & set(told)


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _links(case: str) -> list[str]:
    links = Document(PAGE.write(CODE, CASES[case], LANGUAGES["en"])).all("a")
    return [link["href"] for link in links if "download" in link]

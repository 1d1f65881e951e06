"""A consumer's doors, over JSON through Envoy: verdicts, receipts, the page, and everything that is no token."""

import json
from pathlib import Path

import pytest
from voketag.factory.v1 import factory_pb2

from tests.meshes import Mesh, voketag
from trust import receipt, token
from trust.rpc import JsonRpcChain

pytestmark = pytest.mark.xdist_group("mesh")
Batch = factory_pb2.CreateBatchResponse
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def flipped(text: str, bit: int) -> str:
    """The token with one bit of its 31 bytes flipped."""
    genuine = token.decode(text)
    raw = bytearray(bytes([genuine.kid]) + genuine.product_id + genuine.tag)
    raw[bit // 8] ^= 1 << bit % 8
    return token.encode(token.Token(raw[0], bytes(raw[1:17]), bytes(raw[17:])))


def test_first_scan_then_repeat(mesh: Mesh, batch: Batch) -> None:
    text = batch.products[0].token
    first, second = mesh.verify(text), mesh.verify(text)
    assert (first.status, second.status) == (200, 200)
    assert (first.json["verdict"], first.json["firstScan"], first.json["scanCount"]) == (
        "VERDICT_GENUINE_CODE",
        True,
        1,
    )
    assert (second.json["firstScan"], second.json["scanCount"]) == (False, 2)
    assert second.json["firstScannedAt"] == first.json["firstScannedAt"]
    assert first.json["product"]["attributes"] == {"name": "Acceptance oil", "gtin": "7899000000003"}
    assert {c["name"]: c["outcome"] for c in first.json["checks"]} == {
        f"CHECK_NAME_{name}": "CHECK_OUTCOME_PASSED" for name in ("TAG", "PRODUCT", "SCAN_HISTORY", "ANCHOR")
    }
    assert not first.json["degraded"]


@pytest.mark.parametrize("bit", [0, 7, 8, 40, 130, 136, 200, 247])
def test_any_flipped_bit_is_an_unknown_code(mesh: Mesh, batch: Batch, bit: int) -> None:
    answer = mesh.verify(flipped(batch.products[1].token, bit))
    assert (answer.status, answer.json["verdict"]) == (200, "VERDICT_UNKNOWN_CODE")
    assert "product" not in answer.json
    assert not answer.json["firstScan"]


def malformed(text: str) -> dict[str, str]:
    last = ALPHABET[ALPHABET.index(text[-1]) | 1] if text[-1] in ALPHABET else text[-1]
    return {
        "truncated": text[:-1],
        "over-long": text + "0",
        "much too long": text + "0" * 60,
        "lower case": text.lower(),
        "spare bits": text[:-1] + (last if last != text[-1] else "1"),
        "letter outside the alphabet": "U" + text[1:],
        "one character": "0",
        "unicode": "%E2%82%AC" * 10,
    }


@pytest.mark.parametrize("kind", sorted(malformed("0" * 50)))
def test_malformed_text_is_the_callers_mistake(mesh: Mesh, batch: Batch, kind: str) -> None:
    answer = mesh.verify(malformed(batch.products[1].token)[kind])
    assert (answer.status, answer.reason) == (400, "TOKEN_MALFORMED")


def test_over_long_text_breaks_the_contract(mesh: Mesh) -> None:
    answer = mesh.verify("0" * 200)
    assert (answer.status, answer.reason) == (400, "VALIDATION_FAILED")


def test_typed_text_is_forgiven(mesh: Mesh, batch: Batch) -> None:
    text = batch.products[2].token
    typed = "-".join(text[i : i + 5] for i in range(0, 50, 5)).lower().replace("1", "l").replace("0", "o")
    answer = mesh.verify(typed, typed=True)
    assert (answer.status, answer.json["verdict"]) == (200, "VERDICT_GENUINE_CODE")
    assert mesh.verify(text).json["scanCount"] == 2, "typed or scanned, it is the same code"


def test_receipt_is_valid_without_us(mesh: Mesh, batch: Batch, tmp_path: Path) -> None:
    answer = mesh.ask("GET", f"/api/receipt/{batch.products[3].token}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    result = receipt.verify(receipt.Receipt.from_json(answer.body), JsonRpcChain(mesh.chain))
    assert result.valid
    assert all(step.outcome is receipt.Outcome.PASSED for step in result.steps)
    (tmp_path / "r.json").write_bytes(answer.body)
    assert voketag(mesh.home, "verify", str(tmp_path / "r.json"), "--rpc", mesh.chain).returncode == 0
    other = json.loads(answer.body)
    other["product"]["attributes"]["name"] = "another"
    (tmp_path / "r.json").write_text(json.dumps(other, sort_keys=True, separators=(",", ":")))
    assert voketag(mesh.home, "verify", str(tmp_path / "r.json")).returncode == 1
    (tmp_path / "r.json").write_text("{}")
    assert voketag(mesh.home, "verify", str(tmp_path / "r.json")).returncode == 2


def test_receipt_of_forged_token_is_not_found(mesh: Mesh, batch: Batch) -> None:
    answer = mesh.ask("GET", f"/api/receipt/{flipped(batch.products[3].token, 200)}")
    assert (answer.status, answer.reason) == (404, "PRODUCT_NOT_FOUND")


@pytest.mark.parametrize(
    ("language", "lang"), [("en", "en"), ("pt-BR,pt;q=0.9", "pt-BR"), ("es-AR", "es"), ("xx", "en")]
)
def test_page_speaks_the_readers_language_and_records_nothing(
    mesh: Mesh, batch: Batch, language: str, lang: str
) -> None:
    text = batch.products[4].token
    before = mesh.verify(text).json["scanCount"]
    answer = mesh.ask("GET", f"/r/{text}", headers={"accept-language": language})
    assert (answer.status, answer.headers["content-language"]) == (200, lang)
    assert answer.headers["content-type"].startswith("text/html")
    assert f'<html lang="{lang}"' in answer.body.decode()
    assert "Acceptance oil" in answer.body.decode()
    assert mesh.verify(text).json["scanCount"] == before + 1


def test_page_for_anything_else_says_so(mesh: Mesh, batch: Batch) -> None:
    for text in ("nonsense", flipped(batch.products[5].token, 200), "%3Cscript%3E"):
        answer = mesh.ask("GET", f"/r/{text}")
        assert answer.status == 200
        assert b"<script>" not in answer.body


def test_page_has_one_strict_policy(mesh: Mesh, batch: Batch) -> None:
    headers = mesh.ask("GET", f"/r/{batch.products[5].token}").headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "," not in policy, "one policy, not two merged"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_request_bodies_that_are_refused(mesh: Mesh, batch: Batch) -> None:
    path = f"/api/verify/{batch.products[6].token}"
    unknown = mesh.ask("POST", path, b'{"unknown": 1}')
    assert (unknown.status, unknown.reason) == (400, "REQUEST_REFUSED")
    wrong_type = mesh.ask("POST", path, b"token=x", {"content-type": "application/x-www-form-urlencoded"})
    assert (wrong_type.status, wrong_type.reason) == (415, "REQUEST_REFUSED")
    huge = mesh.ask("POST", path, b'{"typed": ' + b" " * 2_000_000 + b"true}")
    assert (huge.status, huge.reason) == (413, "REQUEST_REFUSED")
    broken = mesh.ask("POST", path, b"{")
    assert (broken.status, broken.reason) == (400, "REQUEST_REFUSED")
    nowhere = mesh.ask("GET", "/api/nowhere")
    assert (nowhere.status, nowhere.reason) == (404, "REQUEST_REFUSED")


def test_token_is_in_no_log(mesh: Mesh, batch: Batch) -> None:
    text = batch.products[7].token
    mesh.verify(text)
    mesh.ask("GET", f"/r/{text}")
    mesh.ask("GET", f"/api/receipt/{text}")
    for log in (mesh.home / "logs").iterdir():
        assert text not in log.read_text(errors="replace"), log.name

"""The fraud desk over JSON through Envoy: an admin rules, scans follow within two seconds, and no factory undoes it."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from tests.acceptance.mesh.test_sessions import email, get, login, post
from tests.meshes import Answer, Mesh, wait_until

__all__ = ["email"]
pytestmark = pytest.mark.xdist_group("mesh")
SEEN_SECONDS = 2


@pytest.fixture(scope="module")
def admin(mesh: Mesh, email: str) -> str:
    return str(login(mesh, email)["tokens"]["accessToken"])


@pytest.fixture
def product(mesh: Mesh, api_key: str) -> Any:
    return mesh.order(api_key, 1, name="Azeite 500 ml").products[0]


def act(mesh: Mesh, admin: str, path: str, **fields: Any) -> Answer:
    fields = {"requestId": str(uuid4()), "note": "seen at the market"} | fields
    return post(mesh, f"/v1/admin/fraud/{path}", admin, **fields)


def until(mesh: Mesh, token: str, verdict: str) -> None:
    began = time.monotonic()
    wait_until(lambda: mesh.verify(token).json["verdict"] == verdict, SEEN_SECONDS + 5)
    assert time.monotonic() - began <= SEEN_SECONDS + 0.5


def test_a_block_stands_above_whatever_the_factory_does(mesh: Mesh, api_key: str, admin: str, product: Any) -> None:
    assert mesh.verify(product.token).json["verdict"] == "VERDICT_GENUINE_CODE"
    path = f"products/{product.product_id}/block"
    blocked = act(mesh, admin, path)
    assert (blocked.status, blocked.json["ruling"]["blockProductId"]) == (200, product.product_id)
    until(mesh, product.token, "VERDICT_BLOCKED")
    for state in ("RECALLED", "SHIPPED", "SOLD"):
        change = {"toState": f"PRODUCT_STATE_{state}", "ids": {"productIds": [product.product_id]}}
        body = json.dumps({"requestId": str(uuid4()), **change}).encode()
        changed = mesh.ask("POST", "/v1/products/change", body, {"x-api-key": api_key})
        assert changed.json["changedCount"] == 1
    explained = mesh.verify(product.token, explain=True).json
    life = next(one for one in explained["risk"]["factors"] if one["name"] == "RISK_FACTOR_NAME_LIFECYCLE")
    assert (explained["verdict"], life["code"]) == ("VERDICT_BLOCKED", "blocked")
    for headers in ({"x-api-key": api_key}, {}):
        refused = mesh.ask("POST", f"/v1/admin/fraud/{path}", b'{"lift":true,"note":"x"}', headers)
        assert refused.status == 401
    assert act(mesh, admin, path, lift=True).status == 200
    until(mesh, product.token, "VERDICT_GENUINE_CODE")

    def told() -> list[str]:
        line = get(mesh, f"/v1/admin/fraud/products/{product.product_id}/timeline?page_size=200", admin).json
        return [next(name for name in ("scan", "step", "ruling") if name in entry) for entry in line["entries"]]

    wait_until(lambda: told().count("scan") >= 3, 20)
    assert [kind for kind in told() if kind != "scan"] == ["ruling", "step", "step", "step", "ruling"]


def test_what_is_suspicious_is_listed_by_filter(mesh: Mesh, admin: str, product: Any) -> None:
    act(mesh, admin, f"batches/{product.batch_id}/block")
    until(mesh, product.token, "VERDICT_BLOCKED")
    now = datetime.now(UTC)

    def listed(**filters: str) -> list[str]:
        fields = {"product_id": product.product_id} | filters
        answer = get(mesh, f"/v1/admin/fraud/scans?{urlencode(fields)}", admin)
        assert answer.status == 200, answer
        return [scan["verdict"] for scan in answer.json.get("scans", [])]

    before = (now - timedelta(hours=1)).isoformat()
    wait_until(lambda: "VERDICT_BLOCKED" in listed(), 20)
    assert "VERDICT_BLOCKED" in listed(verdict="VERDICT_BLOCKED", factor="RISK_FACTOR_NAME_LIFECYCLE", since=before)
    assert listed(verdict="VERDICT_LIKELY_COPY") == listed(until=before) == listed(risk_min="99") == []


def test_cases_and_what_does_not_exist(mesh: Mesh, admin: str, product: Any) -> None:
    report = {
        "requestId": str(uuid4()),
        "token": product.token,
        "kind": "FRAUD_KIND_OTHER",
        "text": "The cap is loose.",
    }
    case_id = mesh.ask("POST", "/api/fraud/report", json.dumps(report).encode()).json["caseId"]
    change = {"requestId": str(uuid4()), "state": "REPORT_STATE_INVESTIGATING", "note": "On it.", "assigneeId": ""}
    path = f"/v1/admin/fraud/reports/{case_id}"
    headers = {"authorization": f"Bearer {admin}"}
    changed = mesh.ask("PATCH", path, json.dumps(change).encode(), headers)
    assert (changed.status, changed.json["report"]["state"]) == (200, "REPORT_STATE_INVESTIGATING")
    assert [note["text"] for note in get(mesh, path, admin).json["report"]["notes"]] == ["On it."]
    of = f"/v1/admin/fraud/reports?product_id={product.product_id}&state=REPORT_STATE_INVESTIGATING"
    assert [case["caseId"] for case in get(mesh, of, admin).json["reports"]] == [case_id]
    assert act(mesh, admin, f"products/{product.product_id}/clear").status == 200
    unknown = act(mesh, admin, "keys/99/revoke")
    assert (unknown.status, unknown.reason) == (404, "KEY_NOT_FOUND")
    nothing = act(mesh, admin, f"batches/{uuid4()}/block")
    assert (nothing.status, nothing.reason) == (404, "BATCH_NOT_FOUND")

"""A product's life over JSON through Envoy: made, recalled and cleared, and scans that see it within two seconds."""

import json
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.meshes import Answer, Mesh, voketag, wait_until

pytestmark = pytest.mark.xdist_group("mesh")
SEEN_SECONDS = 2


def post(mesh: Mesh, key: str, path: str, **body: Any) -> Answer:
    body.setdefault("requestId", str(uuid4()))
    return mesh.ask("POST", path, json.dumps(body).encode(), {"x-api-key": key})


@pytest.fixture(scope="module")
def product(mesh: Mesh, api_key: str) -> Any:
    made = post(mesh, api_key, "/v1/products", attributes={"name": "Azeite 500 ml", "serial": "A-0001"})
    assert made.status == 200
    assert made.json["product"]["state"] == "PRODUCT_STATE_CREATED"
    return made.json["product"]


def selections(product: Any) -> dict[str, Any]:
    return {
        "list": {"ids": {"productIds": [product["productId"]]}},
        "batch": {"batchId": product["batchId"]},
        "serials": {"serials": {"batchId": product["batchId"], "first": "A-0001", "last": "A-0009"}},
    }


@pytest.mark.parametrize("kind", ["list", "batch", "serials"])
@pytest.mark.parametrize("state", ["RECALLED", "STOLEN"])
def test_withdrawn_product_is_blocked_until_it_is_cleared(
    mesh: Mesh, api_key: str, product: Any, kind: str, state: str
) -> None:
    def verdict() -> str:
        return str(mesh.verify(product["token"]).json["verdict"])

    def change(to_state: str) -> None:
        fields = {"toState": f"PRODUCT_STATE_{to_state}", "note": "Lote 7", **selections(product)[kind]}
        answer = post(mesh, api_key, "/v1/products/change", **fields)
        assert (answer.status, answer.json["changedCount"]) == (200, 1)

    assert verdict() == "VERDICT_GENUINE_CODE"
    change(state)
    wait_until(lambda: verdict() == "VERDICT_BLOCKED", SEEN_SECONDS)
    checks = {check["name"]: check["outcome"] for check in mesh.verify(product["token"]).json["checks"]}
    assert checks["CHECK_NAME_PRODUCT"] == "CHECK_OUTCOME_FAILED"
    change("SHIPPED")
    wait_until(lambda: verdict() == "VERDICT_GENUINE_CODE", SEEN_SECONDS)
    path = f"/v1/products/{product['productId']}/events?pageSize=2"
    events = mesh.ask("GET", path, headers={"x-api-key": api_key}).json["events"]
    assert [event["toState"] for event in events] == ["PRODUCT_STATE_SHIPPED", f"PRODUCT_STATE_{state}"]
    assert {event["note"] for event in events} == {"Lote 7"}


def test_nobody_else_changes_it(mesh: Mesh, product: Any) -> None:
    key = mesh.open_factory("Another factory").secret
    answers = [
        post(mesh, key, "/v1/products/change", toState="PRODUCT_STATE_STOLEN", **selection)
        for selection in selections(product).values()
    ]
    assert [(answer.status, answer.reason) for answer in answers] == [
        (404, "PRODUCT_NOT_FOUND"),
        (404, "BATCH_NOT_FOUND"),
        (404, "BATCH_NOT_FOUND"),
    ]


def test_change_by_command(mesh: Mesh, api_key: str, product: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(api_key)

    def change(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return voketag(mesh.home, "products", "change", "--api-key-file", str(tmp_path / "key"), *arguments)

    batch = ("--batch", product["batchId"])
    for selected, changed in (
        (("--to", "recalled", *batch), 1),
        (("--to", "shipped", *batch, "--serials", "A-0001", "A-0002"), 1),
        (("--to", "shipped", product["productId"]), 0),
    ):
        done = change(*selected)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["changed", str(changed), "unchanged", str(1 - changed), "refused", "0"]
    for broken in (("--to", "sold"), ("--to", "sold", *batch, product["productId"]), ("--to", "created", *batch)):
        assert change(*broken).returncode == 2
    unknown = change("--to", "sold", "--batch", str(uuid4()))
    assert (unknown.returncode, "There is no batch" in unknown.stderr) == (1, True)

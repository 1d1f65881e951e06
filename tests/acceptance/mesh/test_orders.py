"""A factory's doors through Envoy: batches by JSON, the command line, bad keys, and other tenants."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from voketag.factory.v1 import factory_pb2

from tests.meshes import Mesh, voketag, wait_until

pytestmark = pytest.mark.xdist_group("mesh")
Batch = factory_pb2.CreateBatchResponse


def body(**changes: object) -> bytes:
    fields = {"requestId": str(uuid4()), "name": "by JSON", "productCount": 2, "returnProducts": True, **changes}
    return json.dumps(fields).encode()


def test_batch_by_json_is_idempotent(mesh: Mesh, api_key: str) -> None:
    key = {"x-api-key": api_key}
    request = body(template={"name": "JSON oil"})
    first, second = (mesh.ask("POST", "/v1/batches", request, key) for _ in range(2))
    assert first.status == second.status == 200
    assert [p["token"] for p in first.json["products"]] == [p["token"] for p in second.json["products"]]
    batch_id = first.json["batch"]["batchId"]
    assert mesh.ask("GET", f"/v1/batches/{batch_id}", headers=key).json["batch"]["issuedCount"] == 2
    assert batch_id in [b["batchId"] for b in mesh.ask("GET", "/v1/batches?pageSize=100", headers=key).json["batches"]]
    products = mesh.ask("GET", f"/v1/batches/{batch_id}/products", headers=key).json["products"]
    assert [p["token"] for p in products] == [p["token"] for p in first.json["products"]]
    product = mesh.ask("GET", f"/v1/products/{products[0]['productId']}", headers=key)
    assert product.json["product"]["attributes"] == {"name": "JSON oil"}
    changed = json.loads(request) | {"name": "other"}
    refused = mesh.ask("POST", "/v1/batches", json.dumps(changed).encode(), key)
    assert (refused.status, refused.reason) == (400, "REQUEST_ID_REUSED")


@pytest.mark.parametrize(
    "changes",
    [
        {"productCount": 0},
        {"productCount": 1_000_001, "returnProducts": False},
        {"productCount": 1001},
        {"requestId": "not a uuid"},
        {"requestId": ""},
        {"name": ""},
        {"name": "x" * 121},
    ],
)
def test_broken_orders_name_their_fields(mesh: Mesh, api_key: str, changes: dict[str, object]) -> None:
    answer = mesh.ask("POST", "/v1/batches", body(**changes), {"x-api-key": api_key})
    assert (answer.status, answer.reason) == (400, "VALIDATION_FAILED")


def test_keys_that_are_not_good(mesh: Mesh, api_key: str) -> None:
    bad = {
        "wrong secret": api_key[:-1] + ("a" if api_key[-1] != "a" else "b"),
        "unknown": "vk_unknown_key",
        "empty": "",
    }
    for key in bad.values():
        answer = mesh.ask("GET", "/v1/batches", headers={"x-api-key": key})
        assert (answer.status, answer.reason) == (401, "CREDENTIALS_INVALID")
    missing = mesh.ask("GET", "/v1/batches")
    assert (missing.status, missing.reason) == (401, "CREDENTIALS_MISSING")


def test_revoked_key_ends_within_two_seconds(mesh: Mesh) -> None:
    issued = mesh.open_factory("Revoked factory")
    key = {"x-api-key": issued.secret}
    assert mesh.ask("GET", "/v1/batches", headers=key).status == 200
    assert voketag(mesh.home, "factory", "revoke-key", issued.api_key.key_id).returncode == 0
    wait_until(lambda: mesh.ask("GET", "/v1/batches", headers=key).status == 401, seconds=2)
    assert mesh.ask("GET", "/v1/batches", headers=key).reason == "CREDENTIALS_INVALID"


def test_quota_is_429_and_set_by_the_command_line(mesh: Mesh) -> None:
    issued = mesh.open_factory("Factory with a quota")
    key, quota = {"x-api-key": issued.secret}, ("factory", "set-quota", issued.api_key.factory_id)
    assert "3" in voketag(mesh.home, *quota, "--products-a-day", "3").stdout
    assert mesh.ask("POST", "/v1/batches", body(productCount=3), key).status == 200
    refused = mesh.ask("POST", "/v1/batches", body(productCount=1), key)
    assert (refused.status, refused.reason) == (429, "QUOTA_EXCEEDED")
    info = refused.json["details"][0]["metadata"]
    assert info == {"quota": "products_a_day", "limit": "3", "used": "3"}
    usage = mesh.ask("GET", "/v1/usage", headers=key).json
    assert (usage["productsToday"], usage["quota"]["productsADay"]) == ("3", "3")
    assert voketag(mesh.home, *quota).returncode == 0
    assert mesh.ask("POST", "/v1/batches", body(productCount=1), key).status == 200
    assert voketag(mesh.home, *quota, "--products-a-day", "-1").returncode == 2
    assert voketag(mesh.home, "factory", "set-quota", str(uuid4())).returncode != 0


def test_another_tenants_things_answer_like_none(mesh: Mesh, batch: Batch) -> None:
    key = {"x-api-key": mesh.open_factory("Other factory").secret}
    there, nowhere = batch.batch.batch_id, str(uuid4())
    for path in ("/v1/batches/{}", "/v1/batches/{}/products", "/v1/products/{}"):
        theirs = batch.products[0].product_id if "products/{}" in path else there
        answers = [mesh.ask("GET", path.format(name), headers=key) for name in (theirs, nowhere)]
        assert answers[0].status == answers[1].status == 404
        assert answers[0].reason == answers[1].reason
        assert answers[0].json["message"].replace(theirs, "") == answers[1].json["message"].replace(nowhere, "")
    cancel = mesh.ask("POST", f"/v1/batches/{there}/cancel", json.dumps({"requestId": str(uuid4())}).encode(), key)
    assert (cancel.status, cancel.reason) == (404, "BATCH_NOT_FOUND")


def test_methods_for_services_are_not_at_the_edge(mesh: Mesh) -> None:
    request = json.dumps({"requestId": str(uuid4())}).encode()
    assert mesh.ask("POST", "/v1/anchor", request).status == 404
    inside = mesh.ask("POST", "/v1/anchor", request, door="internal")
    assert (inside.status, inside.reason) == (401, "CREDENTIALS_MISSING")


def test_command_line_order(mesh: Mesh, tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    table.write_text("gtin;name;cor\n7899000000003;Azeite;verde\n123;Broken;azul\n;Sem código;\n", encoding="utf-8-sig")
    out = tmp_path / "tokens.csv"
    done = voketag(mesh.home, "order", "--csv", str(table), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "2 products issued" in done.stdout
    assert "row 1, gtin" in done.stdout
    lines = out.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["row", "0", "2"]
    answer = mesh.verify(lines[1].split(",")[1]).json
    assert answer["product"]["attributes"] == {"name": "Azeite", "gtin": "7899000000003", "cor": "verde"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must name columns"),
        ("a,b\n1,2\n", "must name columns"),
        ("gtin,gtin\n", "named twice"),
        ("gtin,name\n1,2,3\n", "row 0 has 3 cells"),
        ('gtin,name\n"1,2\n', "unexpected end"),
        ("gtin,name\n", "at least one product"),
    ],
)
def test_command_line_names_what_is_wrong_with_a_file(mesh: Mesh, tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "p.csv"
    table.write_text(text)
    done = voketag(mesh.home, "order", "--csv", str(table))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr

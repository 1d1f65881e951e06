"""A batch's anchor by JSON through Envoy: its proofs, the contract's own word, its transaction, and wrong questions."""

import json
from uuid import UUID

import pytest
from voketag.factory.v1 import factory_pb2

from tests.meshes import Mesh, voketag
from trust.receipt import Receipt, verify
from trust.rpc import JsonRpcChain

pytestmark = pytest.mark.xdist_group("mesh")
Batch = factory_pb2.CreateBatchResponse


def test_a_final_anchor_by_every_door(mesh: Mesh, batch: Batch) -> None:
    batch_id = batch.batch.batch_id
    anchor = mesh.ask("GET", f"/v1/anchor/{batch_id}").json["anchor"]
    assert (anchor["state"], anchor["size"]) == ("ANCHOR_STATE_FINAL", "10")
    told = mesh.ask("GET", f"/v1/verify/{batch_id}").json
    assert (told["registered"], told["agrees"], told["location"]) == (True, True, anchor["location"])
    found = mesh.ask("GET", f"/v1/verify/transaction/{anchor['location']['transaction']}").json["registration"]
    assert (found["anchorRoot"], found["location"]) == (told["anchorRoot"], anchor["location"])
    assert anchor["location"]["transaction"] in [attempt["transaction"] for attempt in found["attempts"]]
    proof = mesh.ask("GET", f"/v1/anchor/{batch_id}/proof").json["proof"]
    claim = {"batchId": batch_id, "root": anchor["root"], "size": anchor["size"], "proof": proof}
    assert mesh.ask("POST", "/v1/verify/proof", json.dumps(claim).encode()).json["valid"]
    claim["size"] = "11"
    assert not mesh.ask("POST", "/v1/verify/proof", json.dumps(claim).encode()).json["valid"]


def test_a_product_s_proof_by_its_id(mesh: Mesh, batch: Batch, api_key: str) -> None:
    path = f"/v1/merkle/proof/{batch.products[3].product_id}"
    answer = mesh.ask("GET", path, headers={"x-api-key": api_key})
    assert answer.status == 200
    receipt = Receipt.from_json(answer.body)
    assert verify(receipt, JsonRpcChain(mesh.chain)).on_chain
    stranger = mesh.open_factory("A stranger")
    refused = mesh.ask("GET", path, headers={"x-api-key": stranger.secret})
    assert (refused.status, refused.reason) == (404, "PRODUCT_NOT_FOUND")
    assert mesh.ask("GET", path).reason == "CREDENTIALS_MISSING"
    file = mesh.home / "receipt.json"
    file.write_bytes(answer.body)
    printed = voketag(mesh.home, "calls", str(file))
    assert (printed.returncode, len(json.loads(printed.stdout)["calls"])) == (0, 3)


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        (f"/v1/verify/{UUID(int=7 << 76 | 2 << 62)}", 404, "ANCHOR_NOT_FOUND"),
        ("/v1/verify/nothing", 400, "VALIDATION_FAILED"),
        (f"/v1/verify/transaction/0x{'0' * 64}", 404, "TRANSACTION_NOT_FOUND"),
        ("/v1/verify/transaction/0x12", 400, "VALIDATION_FAILED"),
        ("/v1/anchors", 401, "CREDENTIALS_MISSING"),
        ("/v1/anchoring/status", 401, "CREDENTIALS_MISSING"),
    ],
)
def test_wrong_questions_by_json(mesh: Mesh, path: str, status: int, reason: str) -> None:
    answer = mesh.ask("GET", path)
    assert (answer.status, answer.reason) == (status, reason)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"batchId": 1}', '{"proof": {"path": ["!"]}}', "{}"])
def test_wrong_proofs_by_json(mesh: Mesh, text: str) -> None:
    assert mesh.ask("POST", "/v1/verify/proof", text.encode()).status == 400

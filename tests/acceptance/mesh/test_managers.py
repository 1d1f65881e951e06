"""An admin opens factories through Envoy; a manager keeps the keys of one and watches its scans, and no other's."""

import asyncio
import json
import secrets
from typing import Any
from uuid import uuid4

import grpc
import pytest
from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from mesh.client import channel as opened
from tests.acceptance.mesh.test_sessions import PASSWORD, email, get, login, mailed, post
from tests.meshes import Mesh, wait_until

__all__ = ["email"]
pytestmark = pytest.mark.xdist_group("mesh")


def factories(mesh: Mesh, admin: str) -> list[str]:
    """The ids of two new ones."""
    ids = []
    for name in ("Fábrica A", "Fábrica B"):
        answer = post(mesh, "/v1/admin/factories", admin, requestId=str(uuid4()), name=name)
        assert answer.status == 200, answer
        ids.append(answer.json["factory"]["factoryId"])
    return ids


def hired(mesh: Mesh, admin: str, factory_id: str) -> str:
    """The access token of a factory's new manager."""
    email = f"mia-{secrets.token_hex(6)}@example.com"
    person = {"email": email, "name": "Mia", "role": "ROLE_FACTORY_MANAGER", "factoryId": factory_id}
    assert post(mesh, "/v1/admin/users", admin, requestId=str(uuid4()), **person).status == 200
    confirm = "/v1/auth/reset-password/confirm"
    assert post(mesh, confirm, token=mailed(mesh, email), newPassword=PASSWORD).status == 200
    token: str = login(mesh, email)["tokens"]["accessToken"]
    return token


def test_a_manager_looks_after_the_keys_of_one_factory(mesh: Mesh, email: str) -> None:
    admin = login(mesh, email)["tokens"]["accessToken"]
    mine, theirs = factories(mesh, admin)
    manager = hired(mesh, admin, mine)

    issued = post(mesh, f"/v1/admin/factories/{mine}/api-keys", manager, requestId=str(uuid4())).json
    rotate = f"/v1/admin/api-keys/{issued['apiKey']['keyId']}/rotate"
    rotated = post(mesh, rotate, manager, requestId=str(uuid4()), overlap="3600s").json
    for key in (issued["secret"], rotated["secret"]):
        assert mesh.ask("GET", "/v1/batches", headers={"x-api-key": key}).status == 200
    listed = get(mesh, f"/v1/admin/factories/{mine}/api-keys", manager).json["apiKeys"]
    assert [key["keyId"] for key in listed] == [rotated["apiKey"]["keyId"], issued["apiKey"]["keyId"]]

    for answer in (
        get(mesh, f"/v1/admin/factories/{theirs}", manager),
        get(mesh, f"/v1/admin/factories/{theirs}/api-keys", manager),
        post(mesh, f"/v1/admin/factories/{theirs}/api-keys", manager, requestId=str(uuid4())),
    ):
        assert (answer.status, answer.reason) == (404, "FACTORY_NOT_FOUND")
    quota = json.dumps({"requestId": str(uuid4()), "productsADay": "5"}).encode()
    raised = mesh.ask("PUT", f"/v1/admin/factories/{mine}/quota", quota, {"authorization": f"Bearer {manager}"})
    assert (raised.status, raised.reason) == (403, "ACCESS_DENIED")

    assert post(mesh, f"/v1/admin/factories/{mine}/suspend", admin, requestId=str(uuid4())).status == 200

    def refused() -> bool:
        """By factory and by scan."""
        key = {"x-api-key": rotated["secret"]}
        return {mesh.ask("GET", path, headers=key).status for path in ("/v1/batches", "/v1/scans/today")} == {401}

    wait_until(refused, 2)
    resumed = post(mesh, f"/v1/admin/factories/{mine}/resume", admin, requestId=str(uuid4()))
    assert resumed.json["factory"]["state"] == "FACTORY_STATE_ACTIVE"


async def watched(mesh: Mesh, bearer: str, token: str) -> scan_pb2.LiveScan:
    """The first scan that somebody sees by gRPC through Envoy, after one was made there."""
    header = ("authorization", lambda: f"Bearer {bearer}")
    async with opened(f"127.0.0.1:{mesh.ports['edge']}", header=header) as channel:
        stub: Any = scan_pb2_grpc.ScanServiceStub(channel)
        call = stub.WatchScans(scan_pb2.WatchScansRequest(), timeout=30)
        assert not (await call.read()).scans
        await stub.Verify(scan_pb2.VerifyRequest(token=token), timeout=10)
        while not (answer := await call.read()).scans:
            pass
        call.cancel()
        scan: scan_pb2.LiveScan = answer.scans[0]
        return scan


def test_a_manager_watches_the_scans_of_one_factory(mesh: Mesh, email: str) -> None:
    admin = login(mesh, email)["tokens"]["accessToken"]
    mine, theirs = factories(mesh, admin)
    manager, other = hired(mesh, admin, mine), hired(mesh, admin, theirs)
    key = post(mesh, f"/v1/admin/factories/{mine}/api-keys", admin, requestId=str(uuid4())).json["secret"]
    product = mesh.order(key).products[0]
    scan = asyncio.run(watched(mesh, manager, product.token))
    assert (scan.product_id, scan.factory_id) == (product.product_id, mine)
    for bearer, path, scans in (
        (manager, "/v1/scans/today", "1"),
        (manager, f"/v1/scans/today?factoryId={mine}", "1"),
        (admin, f"/v1/scans/today?factoryId={mine}", "1"),
        (other, "/v1/scans/today", "0"),
    ):
        assert get(mesh, path, bearer).json["scans"] == scans
    assert [one["productId"] for one in get(mesh, "/v1/scans/top", manager).json["products"]] == [product.product_id]
    assert get(mesh, "/v1/scans/top", other).json["products"] == []
    for path in ("/v1/scans/today", "/v1/scans/top"):
        refused = get(mesh, f"{path}?factoryId={mine}", other)
        assert (refused.status, refused.reason) == (403, "ACCESS_DENIED")
    proof = f"/v1/merkle/proof/{product.product_id}"
    wait_until(lambda: get(mesh, proof, manager).status == 200)
    refused = get(mesh, proof, other)
    assert (refused.status, refused.reason) == (404, "PRODUCT_NOT_FOUND")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        asyncio.run(watched(mesh, manager[:-6] + "AAAAAA", product.token))
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED

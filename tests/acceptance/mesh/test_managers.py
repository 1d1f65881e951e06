"""An admin opens a factory through Envoy, and its manager looks after its keys, and nobody else's."""

import json
import secrets
from uuid import uuid4

import pytest

from tests.acceptance.mesh.test_sessions import PASSWORD, email, get, login, mailed, post
from tests.meshes import Mesh, wait_until

__all__ = ["email"]
pytestmark = pytest.mark.xdist_group("mesh")


def test_a_manager_looks_after_the_keys_of_one_factory(mesh: Mesh, email: str) -> None:
    admin = login(mesh, email)["tokens"]["accessToken"]
    ids = []
    for name in ("Fábrica A", "Fábrica B"):
        opened = post(mesh, "/v1/admin/factories", admin, requestId=str(uuid4()), name=name)
        assert opened.status == 200, opened
        ids.append(opened.json["factory"]["factoryId"])
    mine, theirs = ids
    other = f"mia-{secrets.token_hex(6)}@example.com"
    person = {"email": other, "name": "Mia", "role": "ROLE_FACTORY_MANAGER", "factoryId": mine}
    assert post(mesh, "/v1/admin/users", admin, requestId=str(uuid4()), **person).status == 200
    confirm = "/v1/auth/reset-password/confirm"
    assert post(mesh, confirm, token=mailed(mesh, other), newPassword=PASSWORD).status == 200
    manager = login(mesh, other)["tokens"]["accessToken"]

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

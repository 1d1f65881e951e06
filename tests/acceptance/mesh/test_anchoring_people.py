"""An admin stands anchoring still through Envoy: others look on, nothing is lost, and the audit log says who it was."""

import json
import secrets
from uuid import uuid4

import pytest

from tests.acceptance.mesh.test_sessions import PASSWORD, email, get, login, mailed, post
from tests.meshes import Mesh, wait_until

__all__ = ["email"]
pytestmark = pytest.mark.xdist_group("mesh")
STATUS, FREEZE, RESUME = "/v1/anchoring/status", "/v1/anchoring/freeze", "/v1/anchoring/resume"
CONFIRM = "/v1/auth/reset-password/confirm"
LOGS = "/v1/admin/audit/logs"


def auditor(mesh: Mesh, admin: str) -> str:
    """The token of somebody who only reads."""
    address = f"aud-{secrets.token_hex(6)}@example.com"
    person = {"email": address, "name": "Aud", "role": "ROLE_AUDITOR"}
    assert post(mesh, "/v1/admin/users", admin, requestId=str(uuid4()), **person).status == 200
    assert post(mesh, CONFIRM, token=mailed(mesh, address), newPassword=PASSWORD).status == 200
    token: str = login(mesh, address)["tokens"]["accessToken"]
    return token


def test_an_admin_freezes_and_resumes_and_the_log_says_who(mesh: Mesh, email: str, api_key: str) -> None:
    admin = login(mesh, email)["tokens"]["accessToken"]
    me = get(mesh, "/v1/auth/me", admin).json["user"]["userId"]
    reader = auditor(mesh, admin)
    refused = post(mesh, FREEZE, reader, requestId=str(uuid4()), why="not mine to stop")
    assert (refused.status, refused.reason) == (403, "ACCESS_DENIED")
    nothing = post(mesh, FREEZE, admin, requestId=str(uuid4()))
    assert (nothing.status, nothing.reason) == (400, "VALIDATION_FAILED")
    assert post(mesh, FREEZE, requestId=str(uuid4()), why="nobody").reason == "CREDENTIALS_MISSING"
    frozen = post(mesh, FREEZE, admin, requestId=str(uuid4()), why="a look at the node")
    try:
        assert (frozen.status, frozen.json["freeze"]["frozen"]) == (200, True)
        assert get(mesh, STATUS, reader).json["freeze"] == frozen.json["freeze"]
        batch_id = mesh.order(api_key).batch.batch_id
        wait_until(lambda: mesh.ask("GET", f"/v1/anchor/{batch_id}").status == 200)
        (listed,) = get(mesh, f"/v1/anchors?batchIds={batch_id}", reader).json["anchors"]
        assert (listed["batchId"], listed["state"]) == (batch_id, "ANCHOR_STATE_PENDING")
        assert int(get(mesh, STATUS, reader).json["pendingRoots"]) > 0
    finally:
        resumed = post(mesh, RESUME, admin, requestId=str(uuid4()))
    assert (resumed.status, resumed.json["freeze"]["frozen"]) == (200, False)
    wait_until(lambda: mesh.ask("GET", f"/v1/anchor/{batch_id}").json["anchor"]["state"] == "ANCHOR_STATE_FINAL")

    logged = f"{LOGS}?filter.resource=anchoring/all&filter.service=anchor&filter.result=OK&filter.actor=user:{me}"
    wait_until(lambda: len(get(mesh, logged, reader).json.get("entries", [])) == 2)
    entries = get(mesh, logged, reader).json["entries"]
    methods = {entry["method"].rpartition("/")[2]: entry for entry in entries}
    assert set(methods) == {"FreezeAnchoring", "ResumeAnchoring"}
    assert {(entry["actorKind"], entry["actorRole"]) for entry in entries} == {("user", "admin")}
    assert json.loads(methods["FreezeAnchoring"]["detail"])["why"]["after"] == "a look at the node"

"""The audit log through Envoy: what a factory's account went through, proved up to a block of the chain."""

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.mesh.test_sessions import PASSWORD, get, login
from tests.meshes import Mesh, voketag, wait_until
from trust import merkle
from trust.canonical import SubjectKind, anchor_leaf
from trust.checkpoint import open_checkpoint
from trust.note import Verifier

pytestmark = pytest.mark.xdist_group("mesh")
LOGS = "/v1/admin/audit/logs"


@pytest.fixture(scope="module")
def access(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An admin's access token."""
    address = f"ada-{secrets.token_hex(6)}@example.com"
    file: Path = tmp_path_factory.mktemp("people") / "password"
    file.write_text(PASSWORD + "\n")
    assert voketag(mesh.home, "admin", "create", "--email", address, "--password-file", str(file)).returncode == 0
    token: str = login(mesh, address)["tokens"]["accessToken"]
    return token


def hashes(values: list[str]) -> list[bytes]:
    return [base64.b64decode(value) for value in values]


def test_a_change_is_logged_and_proved_up_to_the_chain(mesh: Mesh, access: str) -> None:
    factory = mesh.open_factory().api_key.factory_id
    wanted = f"{LOGS}?filter.resource=factory/{factory}&filter.service=factory&filter.result=OK"
    wait_until(lambda: bool(get(mesh, wanted, access).json.get("entries")))
    (entry,) = get(mesh, wanted, access).json["entries"]
    assert (entry["actorKind"], entry["actorId"]) == ("service", "admin")
    assert json.loads(entry["detail"])["name"] == "Acceptance factory"
    assert get(mesh, f"{LOGS}/{entry['number']}", access).json["entry"] == entry
    inclusion = f"/v1/admin/audit/inclusion?number={entry['number']}"
    wait_until(lambda: get(mesh, inclusion, access).status == 200)
    proof: dict[str, Any] = get(mesh, inclusion, access).json
    told: dict[str, Any] = get(mesh, "/v1/admin/audit/checkpoint", access).json
    verifiers = [Verifier.from_text(text) for text in told["keys"]]
    checkpoint = open_checkpoint(proof["checkpoint"].encode(), verifiers, told["origin"])
    leaf = merkle.leaf_hash(base64.b64decode(proof["entry"]))
    path = hashes(proof.get("path", []))
    assert merkle.verify_inclusion(leaf, int(entry["number"]), checkpoint.size, path, checkpoint.root)
    subject = checkpoint.subject_id()
    wait_until(lambda: "proof" in mesh.ask("GET", f"/v1/anchor/{subject}/proof").json)
    anchored = mesh.ask("GET", f"/v1/anchor/{subject}/proof").json["proof"]
    own = merkle.leaf_hash(anchor_leaf(SubjectKind.AUDIT_LOG, subject.bytes, checkpoint.size, checkpoint.root))
    root = base64.b64decode(anchored["anchorRoot"])
    way = hashes(anchored.get("path", []))
    assert merkle.verify_inclusion(own, int(anchored["index"]), int(anchored["size"]), way, root)


def test_the_log_is_exported_and_verified_at_the_command_line(mesh: Mesh, access: str, tmp_path: Path) -> None:
    wait_until(lambda: get(mesh, "/v1/admin/audit/checkpoint", access).status == 200)
    token, log = tmp_path / "token", tmp_path / "log.jsonl"
    token.write_text(access)
    done = voketag(mesh.home, "audit-log", "export", str(log), "--token-file", str(token))
    assert done.returncode == 0, done.stderr
    key = get(mesh, "/v1/admin/audit/checkpoint", access).json["keys"][0]
    for options in ([str(log)], []):
        done = voketag(mesh.home, "audit-log", "verify", *options, "--key", key)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "clean" in done.stdout
    token.write_text("no token")
    assert voketag(mesh.home, "audit-log", "export", str(log), "--token-file", str(token)).returncode == 1


def test_only_admins_and_auditors_are_let_in(mesh: Mesh) -> None:
    for path in (LOGS, f"{LOGS}/1", "/v1/admin/audit/checkpoint", "/v1/admin/audit/inclusion"):
        assert mesh.ask("GET", path).status == 401

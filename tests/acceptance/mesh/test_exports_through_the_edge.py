"""Exports and weekly reports as people get them: ordered, waited for and downloaded as JSON and files through Envoy."""

import base64
import hashlib
import json
import secrets
from pathlib import Path
from uuid import uuid4

import pytest

from tests.acceptance.mesh.test_sessions import PASSWORD, get, login
from tests.meshes import Answer, Mesh, voketag, wait_until

pytestmark = pytest.mark.xdist_group("mesh")


@pytest.fixture(scope="module")
def access(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An admin's access token."""
    address = f"ada-{secrets.token_hex(6)}@example.com"
    file: Path = tmp_path_factory.mktemp("exporting") / "password"
    file.write_text(PASSWORD + "\n")
    assert voketag(mesh.home, "admin", "create", "--email", address, "--password-file", str(file)).returncode == 0
    token: str = login(mesh, address)["tokens"]["accessToken"]
    return token


def post(mesh: Mesh, path: str, access: str, **body: str) -> Answer:
    content = json.dumps({"requestId": str(uuid4())} | body).encode()
    return mesh.ask("POST", path, content, {"authorization": f"Bearer {access}"})


def test_a_small_export_is_a_file(mesh: Mesh, access: str) -> None:
    answer = get(mesh, "/v1/admin/export/users?format=EXPORT_FORMAT_JSON_LINES", access)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/jsonl")
    assert answer.headers["content-disposition"] == 'attachment; filename="users.jsonl"'
    assert any(json.loads(line)["role"] == "admin" for line in answer.body.splitlines())


@pytest.mark.parametrize("form", ["CSV", "XLSX"])
def test_an_ordered_export_is_made_and_downloaded(mesh: Mesh, access: str, api_key: str, form: str) -> None:
    mesh.order(api_key, 50)
    wanted = {"kind": "EXPORT_KIND_PRODUCTS", "format": f"EXPORT_FORMAT_{form}"}
    made = post(mesh, "/v1/admin/exports", access, **wanted).json["export"]
    path = f"/v1/admin/exports/{made['exportId']}"
    wait_until(lambda: get(mesh, path, access).json["export"]["state"] == "EXPORT_STATE_DONE")
    told = get(mesh, path, access).json["export"]["file"]
    answer = get(mesh, told["link"], access)
    assert hashlib.sha256(answer.body).digest() == base64.b64decode(told["sha256"])
    assert answer.headers["repr-digest"] == f"sha-256=:{told['sha256']}:"
    assert answer.headers["content-disposition"] == f'attachment; filename="products.{form.lower()}"'
    forged = get(mesh, told["link"] + "x", access)
    assert (forged.status, forged.reason) == (403, "LINK_INVALID")
    assert get(mesh, told["link"]).status == 401


def test_a_weekly_report_is_made_and_downloaded(mesh: Mesh, access: str) -> None:
    factory = mesh.open_factory().api_key.factory_id
    wanted = {"factoryId": factory, "week": "2026-W01", "language": "es"}
    assert post(mesh, "/v1/admin/reports/weekly", access, **wanted).status == 200
    (report,) = get(mesh, f"/v1/admin/reports/weekly?factoryId={factory}", access).json["reports"]
    path = f"/v1/admin/reports/weekly/{report['reportId']}"
    wait_until(lambda: get(mesh, path, access).json["report"]["state"] == "WEEKLY_REPORT_STATE_DONE", seconds=100)
    told = get(mesh, path, access).json["report"]
    pdf = get(mesh, told["pdf"]["link"], access)
    assert (pdf.headers["content-type"], pdf.body[:5]) == ("application/pdf", b"%PDF-")
    assert get(mesh, told["xlsx"]["link"], access).body[:2] == b"PK"

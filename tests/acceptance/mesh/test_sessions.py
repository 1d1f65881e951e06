"""People through Envoy, as JSON: log in, call, refresh, log out; and who is turned away at which door."""

import json
import secrets
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.people import access_token, forged_hmac
from tests.meshes import Answer, Mesh, voketag, wait_until

pytestmark = pytest.mark.xdist_group("mesh")
PASSWORD = "a long pass phrase of somebody"


@pytest.fixture(scope="module")
def email(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An admin, made at the command line."""
    address = f"ada-{secrets.token_hex(6)}@example.com"
    file: Path = tmp_path_factory.mktemp("people") / "password"
    file.write_text(PASSWORD + "\n")
    done = voketag(mesh.home, "admin", "create", "--email", address, "--password-file", str(file))
    assert done.returncode == 0, done.stderr
    assert f"Made the admin {address}" in done.stdout
    again = voketag(mesh.home, "admin", "create", "--email", address.upper(), "--password-file", str(file))
    assert again.returncode == 1
    assert "Somebody has this email already" in again.stderr
    return address


def post(mesh: Mesh, path: str, bearer: str = "", /, **fields: Any) -> Answer:
    headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
    return mesh.ask("POST", path, json.dumps(fields).encode(), headers)


def get(mesh: Mesh, path: str, token: str = "") -> Answer:
    return mesh.ask("GET", path, None, {"authorization": f"Bearer {token}"} if token else {})


def login(mesh: Mesh, email: str, password: str = PASSWORD) -> Any:
    answer = post(mesh, "/v1/auth/login", email=email, password=password)
    assert answer.status == 200, answer
    return answer.json


def mailed(mesh: Mesh, email: str) -> str:
    """The token in the mail to somebody."""

    def texts() -> list[str]:
        paths = sorted((mesh.home / "data" / "mail").glob("*.eml"))
        return [text for path in paths if f"To: {email}" in (text := path.read_text())]

    wait_until(lambda: bool(texts()))
    return texts()[-1].strip().splitlines()[-1]


def test_a_session_through_the_edge(mesh: Mesh, email: str) -> None:
    opened = login(mesh, email)
    access, refresh = opened["tokens"]["accessToken"], opened["tokens"]["refreshToken"]
    assert get(mesh, "/v1/auth/me", access).json["user"]["role"] == "ROLE_ADMIN"
    assert [user["email"] for user in get(mesh, f"/v1/admin/users?email={email}", access).json["users"]] == [email]
    newer = post(mesh, "/v1/auth/refresh", refreshToken=refresh).json["tokens"]
    assert get(mesh, "/v1/auth/me", newer["accessToken"]).status == 200
    assert post(mesh, "/v1/auth/logout", refreshToken=newer["refreshToken"]).status == 200
    gone = post(mesh, "/v1/auth/refresh", refreshToken=newer["refreshToken"])
    assert (gone.status, gone.reason) == (401, "CREDENTIALS_INVALID")
    wrong = post(mesh, "/v1/auth/login", email=email, password="something else entirely")
    assert (wrong.status, wrong.reason) == (401, "LOGIN_REFUSED")


def test_people_are_added_choose_a_password_and_do_what_their_role_allows(mesh: Mesh, email: str) -> None:
    admin = login(mesh, email)["tokens"]["accessToken"]
    other = f"bob-{secrets.token_hex(6)}@example.com"
    added = post(mesh, "/v1/admin/users", admin, requestId=str(uuid4()), email=other, name="Bob", role="ROLE_SUPPORT")
    assert added.status == 200, added
    token = mailed(mesh, other)
    assert post(mesh, "/v1/auth/reset-password/confirm", token=token, newPassword=PASSWORD).status == 200
    again = post(mesh, "/v1/auth/reset-password/confirm", token=token, newPassword=PASSWORD)
    assert (again.status, again.reason) == (400, "RESET_INVALID")
    support = login(mesh, other)["tokens"]["accessToken"]
    assert get(mesh, "/v1/auth/me", support).json["user"]["name"] == "Bob"
    for answer in (get(mesh, "/v1/admin/users", support), post(mesh, "/v1/admin/users", support, name="Eve")):
        assert (answer.status, answer.reason) == (403, "ACCESS_DENIED")
    user_id = added.json["user"]["userId"]
    change = {"requestId": str(uuid4()), "updateMask": "role", "role": "ROLE_AUDITOR"}
    headers = {"authorization": f"Bearer {admin}"}
    changed = mesh.ask("PATCH", f"/v1/admin/users/{user_id}", json.dumps(change).encode(), headers)
    assert (changed.status, changed.json["user"]["role"]) == (200, "ROLE_AUDITOR")
    auditor = login(mesh, other)["tokens"]["accessToken"]
    assert get(mesh, f"/v1/admin/users/{user_id}", auditor).status == 200
    assert post(mesh, f"/v1/admin/users/{user_id}/delete", admin, requestId=str(uuid4())).json["user"]["email"] == ""


def test_whoever_is_nobody_or_pretends_is_turned_away(mesh: Mesh, email: str) -> None:
    access = login(mesh, email)["tokens"]["accessToken"]
    nobody = get(mesh, "/v1/admin/users")
    assert (nobody.status, nobody.reason) == (401, "CREDENTIALS_MISSING")
    for token in (access_token(), forged_hmac(access, b"x"), access[:-6] + "AAAAAA", "abc"):
        for path in ("/v1/admin/users", "/v1/auth/me"):
            answer = get(mesh, path, token)
            assert (answer.status, answer.reason) == (401, "CREDENTIALS_INVALID"), token
    keys = get(mesh, "/.well-known/jwks.json").json["keys"]
    assert [set(key) for key in keys] == [{"kty", "crv", "x", "kid", "use", "alg"}]


def test_the_local_mesh_logs_nobody_in_by_other_providers(mesh: Mesh) -> None:
    assert get(mesh, "/v1/auth/oidc/providers").json == {"providers": []}
    unknown = post(mesh, "/v1/auth/oidc/begin", provider="work")
    assert (unknown.status, unknown.reason) == (404, "OIDC_PROVIDER_NOT_FOUND")

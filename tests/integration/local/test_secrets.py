"""The local mesh's secrets: right in form, made once, for one user alone."""

import base64
import json
import os
from pathlib import Path

import jwt

from mesh.local.secrets import ROLES, SERVICES, Secrets


def _contents(secrets: Secrets) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in secrets.folder.iterdir()}


def test_they_are_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets", os.urandom)
    secrets.make()
    first = _contents(secrets)
    named = [secrets.keyring, secrets.api_key_root, secrets.valkey_password, secrets.chain_key, secrets.jwks]
    named += [*map(secrets.postgres_password, ROLES), *map(secrets.identity, SERVICES)]
    assert {path.name for path in named} <= first.keys()
    assert {path.stat().st_mode & 0o777 for path in secrets.folder.iterdir()} == {0o600}
    assert secrets.folder.stat().st_mode & 0o777 == 0o700
    secrets.make()
    assert _contents(secrets) == first


def test_no_two_are_alike_and_one_that_was_lost_is_made_anew(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, os.urandom)
    secrets.make()
    first = _contents(secrets)
    assert len(set(first.values())) == len(first)
    secrets.identity("scan").unlink()
    secrets.make()
    changed = {name for name, content in _contents(secrets).items() if content != first[name]}
    assert changed == {"identity_scan.pem", "jwks.json"}


def test_each_has_its_form(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, os.urandom)
    secrets.make()
    (key,) = json.loads(secrets.keyring.read_text())["keys"]
    assert (key["kid"], key["state"], len(base64.b64decode(key["key"], validate=True))) == (1, "signing", 32)
    assert len(base64.b64decode(secrets.api_key_root.read_text(), validate=True)) == 32
    assert 0 < int(secrets.chain_key.read_text(), 16) < 2**256
    assert len(secrets.chain_key.read_text()) == 66


def test_the_bundle_checks_what_each_service_signs(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, os.urandom)
    secrets.make()
    bundle = json.loads(secrets.jwks.read_text())
    assert [key["svc"] for key in bundle["keys"]] == list(SERVICES)
    keys = jwt.PyJWKSet.from_dict(bundle)
    for service in SERVICES:
        token = jwt.encode({"iss": service}, secrets.identity(service).read_text(), algorithm="EdDSA")
        claims = jwt.decode(token, keys[f"{service}-1"], algorithms=["EdDSA"])
        assert claims == {"iss": service}

"""Signatures of webhooks: the published vector, our own, and no forgery by a flipped bit."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from factory.delivering import Task, signing_keys
from factory.signing import RootKey, SigningKeys, headers

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "webhooks.json").read_text())
ROOT = RootKey(bytes(range(32)))
ENDPOINT = UUID("0192f3a0-0000-7000-8000-000000000001")
EVENT = UUID("0192f3a0-0000-7000-8000-000000000002")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def verified(signature: str, secret: str, public: str, content: bytes) -> bool:
    """As a receiver does it, by the specification alone."""
    kind, _, text = signature.partition(",")
    raw = base64.b64decode(text, validate=True)
    if kind == "v1":
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        return hmac.compare_digest(raw, hmac.new(key, content, hashlib.sha256).digest())
    assert kind == "v1a"
    try:
        key = base64.b64decode(public.removeprefix("whpk_"), validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(raw, content)
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("vector", VECTORS["standard_webhooks"], ids=lambda v: v["id"])
def test_published_vector(vector: dict[str, Any]) -> None:
    secret = base64.b64decode(vector["secret"].removeprefix("whsec_"))
    content = f"{vector['id']}.{vector['timestamp']}.{vector['payload']}".encode()
    assert SigningKeys(secret, bytes(32)).signatures(content)[0] == vector["signature"]


@pytest.mark.parametrize("vector", VECTORS["ed25519"], ids=lambda v: v["public_key"])
def test_published_key_pair(vector: dict[str, Any]) -> None:
    keys = SigningKeys(bytes(32), bytes.fromhex(vector["secret_key"]))
    assert base64.b64decode(keys.public_text.removeprefix("whpk_")).hex() == vector["public_key"]
    signature = keys.signatures(bytes.fromhex(vector["message"]))[1].removeprefix("v1a,")
    assert base64.b64decode(signature).hex() == vector["signature"]


@pytest.mark.parametrize("vector", VECTORS["derived"], ids=lambda v: str(v["version"]))
def test_keys_follow_from_the_root_the_endpoint_and_the_version(vector: dict[str, Any]) -> None:
    keys = RootKey(base64.b64decode(vector["root"])).keys(UUID(vector["endpoint_id"]), vector["version"])
    assert (keys.secret_text, keys.public_text) == (vector["secret"], vector["public_key"])
    made = headers([keys], UUID(vector["id"]), vector["timestamp"], vector["payload"].encode())
    assert made == {
        "webhook-id": vector["id"],
        "webhook-timestamp": str(vector["timestamp"]),
        "webhook-signature": vector["signature"],
    }


@given(body=st.binary(max_size=200), timestamp=st.integers(0, 2**40), data=st.data())
def test_any_flipped_bit_is_refused(body: bytes, timestamp: int, data: st.DataObject) -> None:
    keys = ROOT.keys(ENDPOINT, 1)
    made = headers([keys], EVENT, timestamp, body)
    content = f"{made['webhook-id']}.{made['webhook-timestamp']}.".encode() + body
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    for signature in made["webhook-signature"].split():
        assert verified(signature, keys.secret_text, keys.public_text, content)
        assert not verified(signature, keys.secret_text, keys.public_text, bytes(flipped))
        kind, _, text = signature.partition(",")
        raw = bytearray(base64.b64decode(text))
        place = data.draw(st.integers(0, len(raw) * 8 - 1))
        raw[place // 8] ^= 1 << place % 8
        other = f"{kind},{base64.b64encode(raw).decode()}"
        assert not verified(other, keys.secret_text, keys.public_text, content)


def test_every_endpoint_and_version_has_keys_of_its_own() -> None:
    keys = [ROOT.keys(UUID(int=endpoint), version) for endpoint in range(1, 5) for version in range(1, 5)]
    keys.append(RootKey(bytes(32)).keys(UUID(int=1), 1))
    assert len({raw for key in keys for raw in (key.secret, key.seed)}) == 2 * len(keys)
    assert all(len(key.secret) == 32 for key in keys)


def task(version: int, *retired: timedelta) -> Task:
    times = [NOW - ago for ago in retired]
    return Task(ENDPOINT, EVENT, 0, None, b"{}", "https://example.com", version, times, disabled=False)


@pytest.mark.parametrize(
    ("waiting", "versions"),
    [
        (task(1), [1]),
        (task(2, timedelta(hours=23, minutes=59)), [2, 1]),
        (task(2, timedelta(hours=24)), [2]),
        (task(7, timedelta(0), timedelta(hours=2), timedelta(days=2)), [7, 6, 5]),
    ],
)
def test_replaced_keys_sign_along_for_a_day(waiting: Task, versions: list[int]) -> None:
    assert signing_keys(ROOT, waiting, NOW) == [ROOT.keys(ENDPOINT, version) for version in versions]

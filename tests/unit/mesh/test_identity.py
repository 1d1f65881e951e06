"""Service tokens: what is let in, and everything that is not."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import CredentialsInvalid
from mesh.identity import Principal, ServiceAuthenticator, ServiceTokens, address_prefix, client_address

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class SetClock:
    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def pem(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


KEYS = {name: Ed25519PrivateKey.generate() for name in ("factory", "scan")}
JWKS = json.dumps(
    {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "kid": f"{name}-1",
                "svc": name,
                "x": base64.urlsafe_b64encode(public(key)).decode().rstrip("="),
            }
            for name, key in KEYS.items()
        ]
    }
)


def signed(
    service: str = "factory", *, kid: str | None = None, alg: str = "EdDSA", key: Any = None, **changes: Any
) -> str:
    claims = {"iss": service, "aud": "anchor", "iat": START, "exp": START + timedelta(seconds=60), **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key or KEYS[service], alg, headers={"kid": kid or f"{service}-1"})


def unsigned() -> str:
    claims = {"iss": "factory", "aud": "anchor", "iat": START, "exp": START + timedelta(seconds=60)}
    return jwt.encode(claims, "", "none", headers={"kid": "factory-1"})


async def authenticate(token: str, clock: SetClock | None = None) -> Principal | None:
    authenticator = ServiceAuthenticator(JWKS, "anchor", clock or SetClock())
    return await authenticator.authenticate({"authorization": f"Bearer {token}"})


async def test_own_token_is_let_in_and_minted_anew_at_half_life() -> None:
    clock = SetClock()
    tokens = ServiceTokens("factory", pem(KEYS["factory"]), clock)
    authenticator = ServiceAuthenticator(JWKS, "anchor", clock)
    first = tokens.token("anchor")
    assert await authenticator.authenticate({"authorization": f"Bearer {first}"}) == Principal("service", "factory")
    clock.at += timedelta(seconds=29)
    assert tokens.token("anchor") == first
    clock.at += timedelta(seconds=2)
    assert tokens.token("anchor") != first


async def test_no_token_is_no_identity() -> None:
    authenticator = ServiceAuthenticator(JWKS, "anchor", SetClock())
    assert await authenticator.authenticate({}) is None
    assert await authenticator.authenticate({"authorization": "Basic abc"}) is None


REFUSED: dict[str, Callable[[], str]] = {
    "expired": lambda: signed(exp=START - timedelta(seconds=6), iat=START - timedelta(seconds=66)),
    "from the future": lambda: signed(iat=START + timedelta(seconds=6), exp=START + timedelta(seconds=66)),
    "lives too long": lambda: signed(exp=START + timedelta(hours=1)),
    "no expiry": lambda: signed(exp=None),
    "no issue time": lambda: signed(iat=None),
    "other audience": lambda: signed(aud="factory"),
    "no audience": lambda: signed(aud=None),
    "another's key": lambda: signed("factory", key=KEYS["scan"]),
    "speaks for another": lambda: signed("scan", iss="factory"),
    "unknown key id": lambda: signed(kid="factory-2"),
    "no signature": unsigned,
    "public key as HMAC secret": lambda: signed(alg="HS256", key=public(KEYS["factory"])),
    "not a token": lambda: "abc",
    "empty": lambda: "",
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("ignore:The HMAC key")
async def test_refused(token: Callable[[], str]) -> None:
    with pytest.raises(CredentialsInvalid):
        await authenticate(token())


async def test_a_checked_token_still_expires() -> None:
    clock = SetClock()
    authenticator = ServiceAuthenticator(JWKS, "anchor", clock)
    metadata = {"authorization": f"Bearer {signed()}"}
    assert await authenticator.authenticate(metadata)
    clock.at += timedelta(seconds=66)
    with pytest.raises(CredentialsInvalid):
        await authenticator.authenticate(metadata)


@given(st.ip_addresses())
def test_prefix_contains_its_address_and_hides_the_host(address: Any) -> None:
    import ipaddress

    network = ipaddress.ip_network(address_prefix(str(address)))
    assert address in network
    assert network.prefixlen == (24 if address.version == 4 else 48)


@given(st.text())
def test_prefix_of_anything_else_is_empty_or_a_network(text: str) -> None:
    import ipaddress

    prefix = address_prefix(text)
    assert prefix == "" or ipaddress.ip_network(prefix)


def test_client_address_is_what_the_edge_says_else_the_peer() -> None:
    assert client_address({"x-client-address": "203.0.113.9"}, "ipv4:127.0.0.1:5") == "203.0.113.9"
    assert client_address({}, "ipv4:198.51.100.7:4711") == "198.51.100.7"
    assert client_address({}, "ipv6:%5B2001:db8::1%5D:4711") == "2001:db8::1"
    assert client_address({}, "unix:") == ""

"""ID tokens that hold, and those that do not: each comes over the wire from a provider that signed or sent it so."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.clock import HandClock
from tests.fakes.oidc_provider import CLIENT_ID, Claims, OidcProvider, SigningKey, unpadded
from tests.integration.admin.oidc import Client, Scene, log_in, scene
from tests.integration.admin.test_people import refused
from tests.integration.admin.world import Ground

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOREIGN = SigningKey("key-1")


@pytest_asyncio.fixture(loop_scope="module", name="here")
async def _here(ground: Ground) -> AsyncIterator[Scene]:
    async with scene(ground) as here:
        await here.somebody()
        yield here


def by_hand(header: Claims, claims: Claims, secret: bytes = b"") -> str:
    """A token that the library would not make; without a secret it has no signature."""
    signed = ".".join(unpadded(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{unpadded(hmac.digest(secret, signed.encode(), 'sha256')) if secret else ''}"


def public_pem(key: SigningKey) -> bytes:
    pem: bytes = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def changed_after_signing(provider: OidcProvider, claims: Claims) -> str:
    head, _, signature = provider.keys[0].sign(claims).split(".")
    return f"{head}.{unpadded(json.dumps(claims | {'sub': 'subject-2'}).encode())}.{signature}"


def with_header(provider: OidcProvider, claims: Claims, **header: Any) -> str:
    key = provider.keys[0]
    return jwt.encode(claims, key.private, key.algorithm, headers={"kid": key.kid} | header)


FORGERIES: dict[str, Callable[[OidcProvider, Claims], Any]] = {
    "another's key under the same name": lambda p, c: FOREIGN.sign(c),
    "another's key under a new name": lambda p, c: SigningKey("key-9").sign(c),
    "no algorithm": lambda p, c: by_hand({"alg": "none"}, c),
    "no algorithm, by kid": lambda p, c: by_hand({"alg": "none", "kid": "key-1"}, c),
    "None": lambda p, c: by_hand({"alg": "None", "kid": "key-1"}, c),
    "HS256 under the public key": lambda p, c: by_hand({"alg": "HS256", "kid": "key-1"}, c, public_pem(p.keys[0])),
    "HS256 under the client's secret": lambda p, c: by_hand({"alg": "HS256"}, c, b"a secret: of/tests only"),
    "ES256 said, signed by HMAC": lambda p, c: by_hand({"alg": "ES256", "kid": "key-1"}, c, public_pem(p.keys[0])),
    "ES256 and no signature": lambda p, c: by_hand({"alg": "ES256", "kid": "key-1"}, c),
    "another algorithm than its key's": lambda p, c: by_hand({"alg": "RS256", "kid": "key-1"}, c, b"x"),
    "algorithm of another type": lambda p, c: by_hand({"alg": ["ES256"], "kid": "key-1"}, c),
    "a kid of another type": lambda p, c: by_hand({"alg": "ES256", "kid": 1}, c),
    "a header that must be understood": lambda p, c: with_header(p, c, crit=["x"], x=1),
    "its own key in the header": lambda p, c: jwt.encode(
        c, FOREIGN.private, "ES256", headers={"kid": "key-1", "jwk": FOREIGN.published, "jku": "https://x.example"}
    ),
    "changed after signing": changed_after_signing,
    "no token": lambda p, c: "abc",
    "nothing": lambda p, c: "",
    "something else": lambda p, c: 7,
    "claims that are a list": lambda p, c: jwt.api_jws.encode(
        b"[]", p.keys[0].private, algorithm="ES256", headers={"kid": "key-1"}
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
async def test_what_the_provider_did_not_sign_proves_nobody(
    here: Scene, forgery: Callable[[OidcProvider, Claims], Any]
) -> None:
    here.work.sign = lambda claims: forgery(here.work, claims)
    client = await Client(here.door).come_back()
    assert await refused(client.complete()) == "OIDC_LOGIN_REFUSED"
    here.work.sign = lambda claims: here.work.keys[0].sign(claims)
    assert await refused(client.complete()) == "OIDC_STATE_INVALID"
    await log_in(here.door)


MISSING = "is left out"
CLAIMS: dict[str, Claims] = {
    "another issuer": {"iss": "https://elsewhere.example"},
    "no issuer": {"iss": MISSING},
    "another audience": {"aud": "another client"},
    "no audience": {"aud": MISSING},
    "an empty audience": {"aud": []},
    "issued to another of its audiences": {"aud": [CLIENT_ID, "other"], "azp": "other"},
    "several audiences and no party": {"aud": [CLIENT_ID, "other"]},
    "another party": {"azp": "other"},
    "another nonce": {"nonce": "A" * 43},
    "no nonce": {"nonce": MISSING},
    "a nonce of another type": {"nonce": ["x"]},
    "a nonce of other letters": {"nonce": "é"},
    "another access token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    "a hash of another type": {"at_hash": 7},
    "no end": {"exp": MISSING},
    "no beginning": {"iat": MISSING},
    "an end that is no time": {"exp": "tomorrow"},
    "an end that never comes": {"exp": float("inf")},
    "an end beyond numbers": {"exp": 10**400},
    "an end that is a truth": {"exp": True},
    "no subject": {"sub": MISSING},
    "an empty subject": {"sub": ""},
    "not yet": {"nbf": time.time() + 3600},
}


@pytest.mark.parametrize("claims", CLAIMS.values(), ids=CLAIMS)
async def test_what_was_signed_for_another_purpose_proves_nobody(here: Scene, claims: Claims) -> None:
    here.work.claims = lambda whole: {n: v for n, v in (whole | claims).items() if v != MISSING}
    here.work.sign = lambda whole: jwt.api_jws.encode(
        json.dumps(whole).encode(), here.work.keys[0].private, algorithm="ES256", headers={"kid": "key-1"}
    )
    assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED"
    here.work.claims = lambda whole: whole
    await log_in(here.door)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": [CLIENT_ID]},
        {"aud": [CLIENT_ID, "other"], "azp": CLIENT_ID},
        {"azp": CLIENT_ID},
        {"at_hash": MISSING},
        {"nbf": 0, "auth_time": 1, "email_verified": False},
    ],
    ids=str,
)
async def test_what_may_differ_may_differ(here: Scene, claims: Claims) -> None:
    await log_in(here.door)
    here.work.claims = lambda whole: {n: v for n, v in (whole | claims).items() if v != MISSING}
    await log_in(here.door)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("named", [True, False])
async def test_three_algorithms_with_names_or_without(ground: Ground, algorithm: str, named: bool) -> None:
    async with scene(ground) as here:
        await here.somebody()
        key = SigningKey("" if not named else "k", algorithm)
        here.work.keys = [key]
        if not named:
            del key.published["kid"], key.published["alg"]
            here.work.sign = lambda claims: jwt.encode(claims, key.private, algorithm)
        await log_in(here.door)


async def test_clocks_may_differ_by_a_minute(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = float(int(time.time()))
    async with scene(ground, clock) as here:
        await here.somebody()
        for moments, holds in (
            ({"iat": 60}, True),
            ({"iat": 61}, False),
            ({"exp": -59}, True),
            ({"exp": -60}, False),
            ({"iat": 60, "nbf": 60}, True),
            ({"nbf": 61}, False),
        ):
            said = {name: int(clock.seconds) + seconds for name, seconds in moments.items()}
            here.work.claims = lambda whole, said=said: whole | said  # type: ignore[misc]
            if holds:
                await log_in(here.door)
            else:
                assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED", moments


async def test_a_new_key_is_fetched_and_not_too_often(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = time.time()
    async with scene(ground, clock) as here:
        await here.somebody()
        await log_in(here.door)
        assert here.work.asked.count("/jwks") == 1
        here.work.keys = [SigningKey("key-2"), here.work.keys[0]]
        assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED", "ten seconds have not passed"
        assert here.work.asked.count("/jwks") == 1
        clock.seconds += 11
        await log_in(here.door)
        assert here.work.asked.count("/jwks") == 2
        here.work.sign = lambda claims: SigningKey("key-3").sign(claims)
        for _ in range(5):
            assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED"
        assert here.work.asked.count("/jwks") == 2
        here.work.sign = lambda claims: here.work.keys[0].sign(claims)
        here.work.keys.pop()
        clock.seconds += 3600
        await log_in(here.door)
        assert here.work.asked.count("/jwks") == 3, "an hour is the longest that it is kept"
        assert here.work.asked.count("/.well-known/openid-configuration") == 2


@pytest.mark.parametrize(
    "bent",
    [
        {"use": "enc"},
        {"alg": "RS512"},
        {"alg": "ES384"},
        {"d": "x"},
        {"kty": "oct", "k": "eHh4"},
        {"crv": "P-384"},
        {"x": "x"},
        {"kty": ["EC"]},
        {"kid": 7},
    ],
    ids=str,
)
async def test_keys_for_other_things_are_not_used(ground: Ground, bent: Claims) -> None:
    async with scene(ground) as here:
        await here.somebody()
        useful, useless = SigningKey("key-2"), SigningKey("key-1")
        useless.published |= bent
        here.work.keys = [useless, useful]
        assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED"
        here.work.keys.reverse()
        await log_in(here.door)


async def test_short_rsa_keys_are_not_used(ground: Ground) -> None:
    numbers = base64.urlsafe_b64encode((2**1023 + 1).to_bytes(128)).rstrip(b"=").decode()
    async with scene(ground) as here:
        await here.somebody()
        short = SigningKey("key-1")
        short.published = {"kty": "RSA", "n": numbers, "e": "AQAB", "kid": "key-1", "alg": "RS256"}
        here.work.keys = [short, SigningKey("key-2")]
        here.work.sign = lambda claims: by_hand({"alg": "RS256", "kid": "key-1"}, claims, b"x")
        assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED"

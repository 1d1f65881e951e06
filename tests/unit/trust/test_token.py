import base64
import hmac
import json
import logging
from dataclasses import FrozenInstanceError
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust.vectors import load, named
from trust.keyring import KeyringError
from trust.token import (
    ALPHABET,
    Checked,
    Key,
    Keyring,
    KeyState,
    Token,
    TokenMalformedError,
    TokenMinter,
    check,
    decode,
    encode,
    fold,
    issue,
)

VECTORS = load("token")
KEYRING = Keyring.from_json(json.dumps(VECTORS["keyring"]))
MALFORMED = named(VECTORS["malformed"])
FORGED = named(VECTORS["forged"])

ids = st.binary(min_size=16, max_size=16)
tokens = st.builds(Token, st.integers(0, 255), ids, st.binary(min_size=14, max_size=14))


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: f"{vector['kid']}-{vector['product_id'][:4]}")
def test_published_tokens_are_read_checked_and_made(vector: dict[str, str]) -> None:
    product_id, kid, text = UUID(vector["product_id"]).bytes, int(vector["kid"]), vector["token"]
    token = Token(kid, product_id, bytes.fromhex(vector["tag"]))
    state = KeyState(vector["state"])
    assert decode(text) == token
    assert encode(token) == text
    assert check(KEYRING, text) == Checked(product_id, kid, state)
    if state is KeyState.SIGNING:
        assert issue(KEYRING, product_id) == text


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_text_is_refused(name: str) -> None:
    text = MALFORMED[name]["text"]
    for read in (decode, lambda text: check(KEYRING, text)):
        with pytest.raises(TokenMalformedError):
            read(text)


@pytest.mark.parametrize("name", FORGED)
def test_forged_tokens_are_refused(name: str) -> None:
    assert decode(FORGED[name]["token"])
    assert check(KEYRING, FORGED[name]["token"]) is None


@pytest.mark.parametrize("case", VECTORS["folded"], ids=range(len(VECTORS["folded"])))
def test_typed_text_folds_to_the_token(case: dict[str, str]) -> None:
    assert fold(case["typed"]) == case["token"]
    assert check(KEYRING, fold(case["typed"])) is not None


@given(tokens)
def test_decode_inverts_encode(token: Token) -> None:
    text = encode(token)
    assert decode(text) == token
    assert len(text) == 50
    assert set(text) <= set(ALPHABET)


@given(tokens)
def test_text_is_crockford_base32_of_the_bytes(token: Token) -> None:
    rfc4648 = base64.b32encode(bytes([token.kid]) + token.product_id + token.tag).decode().rstrip("=")
    assert encode(token) == rfc4648.translate(str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", ALPHABET))


@given(st.text(alphabet=ALPHABET, min_size=50, max_size=50))
def test_whatever_is_accepted_is_canonical(text: str) -> None:
    try:
        token = decode(text)
    except TokenMalformedError:
        assert ALPHABET.index(text[-1]) % 4 != 0
    else:
        assert encode(token) == text


@given(st.text(max_size=60))
def test_any_text_is_refused_or_canonical(text: str) -> None:
    try:
        token = decode(text)
    except TokenMalformedError:
        return
    assert encode(token) == text


@given(ids)
def test_every_bit_flip_of_a_token_is_refused(product_id: bytes) -> None:
    text = issue(KEYRING, product_id)
    for place, character in enumerate(text):
        for bit in range(5):
            flipped = text[:place] + ALPHABET[ALPHABET.index(character) ^ 1 << bit] + text[place + 1 :]
            try:
                assert check(KEYRING, flipped) is None
            except TokenMalformedError:
                assert place == 49
                assert bit < 2


@given(st.binary(min_size=32, max_size=130), st.integers(0, 255), ids)
def test_tag_is_hmac_sha256_cut_to_14_bytes(secret: bytes, kid: int, product_id: bytes) -> None:
    keyring = Keyring({kid: Key(secret, KeyState.SIGNING)})
    expected = hmac.digest(secret, b"voketag/token/v1" + bytes([kid]) + product_id, "sha256")[:14]
    text = issue(keyring, product_id)
    assert decode(text) == Token(kid, product_id, expected)
    assert check(keyring, text) == Checked(product_id, kid, KeyState.SIGNING)


@pytest.mark.parametrize("count", [0, 1, 2, 127, 128, 129, 1000])
def test_bulk_minting_gives_the_tokens_of_single_minting(count: int) -> None:
    minter = TokenMinter(KEYRING)
    product_ids = [number.to_bytes(16, "big") for number in range(count)]
    assert list(minter.mint_many(product_ids)) == [minter.mint(product_id) for product_id in product_ids]


@pytest.mark.parametrize("product_id", [b"", bytes(15), bytes(17)])
def test_minting_refuses_ids_of_another_size(product_id: bytes) -> None:
    minter = TokenMinter(KEYRING)
    with pytest.raises(ValueError, match="16 bytes"):
        minter.mint(product_id)
    with pytest.raises(ValueError, match="16 bytes"):
        list(minter.mint_many([bytes(16), product_id]))


@pytest.mark.parametrize(
    "token", [Token(-1, bytes(16), bytes(14)), Token(256, bytes(16), bytes(14)), Token(1, b"", bytes(30))]
)
def test_encode_refuses_parts_of_another_size(token: Token) -> None:
    with pytest.raises(ValueError, match="kid"):
        encode(token)


def test_rotation_keeps_printed_tokens_and_revocation_tells_them() -> None:
    old, new = Key(bytes(32), KeyState.SIGNING), Key(b"n" * 32, KeyState.SIGNING)
    printed = issue(Keyring({1: old}), bytes(16))
    rotated = Keyring({1: Key(old.key, KeyState.VERIFYING), 2: new})
    assert check(rotated, printed) == Checked(bytes(16), 1, KeyState.VERIFYING)
    assert decode(issue(rotated, bytes(16))).kid == 2
    revoked = Keyring({1: Key(old.key, KeyState.REVOKED), 2: new})
    assert check(revoked, printed) == Checked(bytes(16), 1, KeyState.REVOKED)
    assert check(Keyring({2: new}), printed) is None


SECRET = base64.b64encode(b"very secret key material 1234567").decode()
ENTRY = {"kid": 1, "key": SECRET, "state": "signing"}
WRONG_KEYRINGS = {
    "not JSON": ("{" + SECRET, "not JSON"),
    "not an object": (json.dumps([ENTRY]), "not JSON of the form"),
    "an extra field": (json.dumps({"keys": [ENTRY], "more": SECRET}), "not JSON of the form"),
    "keys not a list": (json.dumps({"keys": ENTRY}), "not JSON of the form"),
    "deep nesting": ("[" * 5_000, "not JSON"),
    "entry not an object": (json.dumps({"keys": [SECRET]}), r"keys\[0\]"),
    "entry lacks state": (json.dumps({"keys": [{"kid": 1, "key": SECRET}]}), r"keys\[0\]"),
    "entry has more": (json.dumps({"keys": [{**ENTRY, SECRET: 1}]}), r"keys\[0\]"),
    "kid 256": (json.dumps({"keys": [{**ENTRY, "kid": 256}]}), r"keys\[0\]\.kid"),
    "kid -1": (json.dumps({"keys": [{**ENTRY, "kid": -1}]}), r"keys\[0\]\.kid"),
    "kid true": (json.dumps({"keys": [{**ENTRY, "kid": True}]}), r"keys\[0\]\.kid"),
    "kid is the key": (json.dumps({"keys": [{**ENTRY, "kid": SECRET}]}), r"keys\[0\]\.kid"),
    "kid twice": (json.dumps({"keys": [ENTRY, {**ENTRY, "state": "verifying"}]}), r"keys\[1\]\.kid 1 appears twice"),
    "state unknown": (json.dumps({"keys": [{**ENTRY, "state": "retired"}]}), r"keys\[0\]\.state"),
    "state is the key": (json.dumps({"keys": [{**ENTRY, "state": SECRET}]}), r"keys\[0\]\.state"),
    "state a list": (json.dumps({"keys": [{**ENTRY, "state": [SECRET]}]}), r"keys\[0\]\.state"),
    "key not base64": (json.dumps({"keys": [{**ENTRY, "key": SECRET + "!"}]}), r"keys\[0\]\.key is not base64"),
    "key not ASCII": (json.dumps({"keys": [{**ENTRY, "key": SECRET + "é"}]}), r"keys\[0\]\.key is not base64"),
    "key a number": (json.dumps({"keys": [{**ENTRY, "key": 1}]}), r"keys\[0\]\.key is not base64"),
    "key short": (json.dumps({"keys": [{**ENTRY, "key": SECRET[:40]}]}), "kid 1 has 30 bytes, fewer than 32"),
    "no key": ('{"keys": []}', "exactly one signing key, not 0"),
    "none signing": (json.dumps({"keys": [{**ENTRY, "state": "revoked"}]}), "exactly one signing key, not 0"),
    "two signing": (json.dumps({"keys": [ENTRY, {**ENTRY, "kid": 2}]}), "exactly one signing key, not 2"),
}


@pytest.mark.parametrize("name", WRONG_KEYRINGS)
def test_wrong_keyrings_are_refused_without_telling_the_key(name: str) -> None:
    text, message = WRONG_KEYRINGS[name]
    with pytest.raises(KeyringError, match=message) as caught:
        Keyring.from_json(text)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET[:8] not in repr(error) + repr(vars(error))
        error = error.__context__


@pytest.mark.parametrize("kid", [-1, 256])
def test_keyring_refuses_kids_out_of_range(kid: int) -> None:
    with pytest.raises(KeyringError, match="not from 0 to 255"):
        Keyring({kid: Key(bytes(32), KeyState.SIGNING)})


def test_keyring_hides_its_keys_and_cannot_be_changed(caplog: pytest.LogCaptureFixture) -> None:
    secret = b"very secret key material 1234567"
    keyring = Keyring.from_json(json.dumps({"keys": [ENTRY]}).encode())
    logging.getLogger("test").error("%r %s %r", keyring, keyring.keys, keyring.macs[1])
    for shown in (repr(keyring), str(keyring), caplog.text):
        assert "very secret" not in shown
        assert secret.hex() not in shown
    with pytest.raises(FrozenInstanceError):
        keyring.signing_kid = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        keyring.keys[2] = Key(secret, KeyState.VERIFYING)  # type: ignore[index]

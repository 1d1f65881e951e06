"""What is minted: ids in order, leaves as a verifier has them, a COPY as PostgreSQL reads it, tokens that check."""

import base64
import json
import struct
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from factory.minting import COLUMNS, Minter, Tokens, raw_uuid7
from trust import canonical, merkle
from trust.token import Keyring, check

BATCH = bytes(range(16))
TEMPLATE = b'{"brand":"Voke"}'


def keyring(*states: str) -> Keyring:
    keys = [
        {"kid": kid, "key": base64.b64encode(bytes([kid]) * 32).decode(), "state": state}
        for kid, state in enumerate(states)
    ]
    return Keyring.from_json(json.dumps({"keys": keys}))


def read_copy(data: bytes) -> list[tuple[bytes | None, ...]]:
    """PostgreSQL's COPY BINARY, by its manual."""
    assert data.startswith(b"PGCOPY\n\xff\r\n\x00" + bytes(8))
    place, found = 19, []
    while (fields := struct.unpack_from("!h", data, place)[0]) != -1:
        place += 2
        row: list[bytes | None] = []
        for _ in range(fields):
            (size,) = struct.unpack_from("!i", data, place)
            place += 4
            row.append(None if size == -1 else data[place : place + size])
            place += max(size, 0)
        found.append(tuple(row))
    assert place + 2 == len(data)
    return found


@given(st.lists(st.none() | st.binary(max_size=40), max_size=30), st.integers(0, 999_999), st.integers(0, 255))
def test_copy_and_leaves_say_the_same(attributes: list[bytes | None], first: int, kid: int) -> None:
    minted = Minter(raw_uuid7, batch_id=BATCH, template=TEMPLATE, kid=kid).mint(first, attributes)
    rows = read_copy(minted.copy)
    assert len(rows) == len(minted.ids) == len(attributes)
    leaves = []
    for index, (row, product_id, encoded) in enumerate(zip(rows, minted.ids, attributes, strict=True), first):
        assert len(row) == len(COLUMNS)
        assert row == (product_id, BATCH, index.to_bytes(4), kid.to_bytes(2), bytes(2), encoded)
        digest = canonical.attributes_digest(TEMPLATE if encoded is None else encoded)
        leaves.append(merkle.leaf_hash(canonical.product_leaf(BATCH, index, product_id, digest)))
    assert minted.leaf_hashes == b"".join(leaves)


def test_ids_are_uuid7_and_grow() -> None:
    ids = Minter(raw_uuid7, batch_id=BATCH, template=TEMPLATE, kid=1).mint_alike(0, 5000).ids
    assert all(before < after for before, after in pairwise(ids))
    assert {product_id[6] >> 4 for product_id in ids} == {7}
    assert {product_id[8] >> 6 for product_id in ids} == {2}


def test_stored_product_gets_the_token_it_was_issued_with_after_a_rotation() -> None:
    before, after = keyring("signing", "verifying"), keyring("verifying", "signing")
    ids = [raw_uuid7() for _ in range(300)]
    issued = Tokens(before).fresh(ids)
    assert list(Tokens(after).stored((0, product_id) for product_id in ids)) == issued
    assert Tokens(after).kid == 1
    for token, product_id in zip(issued, ids, strict=True):
        checked = check(after, token)
        assert checked is not None
        assert checked.product_id == product_id

"""Products by the thousand: ids, leaf hashes and the bytes of a binary COPY in one pass; and tokens."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import uuid_utils

from trust.canonical import attributes_digest, product_leaf
from trust.merkle import leaf_hash
from trust.token import Keyring, Token, TokenMinter, encode

RawIdSource = Callable[[], bytes]
"""Gives the 16 bytes of UUIDv7 (RFC 9562), each greater than the one before."""

COLUMNS = ("product_id", "batch_id", "index", "kid", "state", "attributes")
_CREATED = 0

# PostgreSQL's COPY BINARY: signature, flags, length of the header extension; a row is the number of its fields, then
# each field's length and bytes, -1 for NULL; -1 instead of a row ends it.
_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_ROW = struct.Struct("!hi16si16siiihihi")
_TRAILER = b"\xff\xff"
_NULL = -1


def raw_uuid7() -> bytes:
    """The real RawIdSource."""
    return uuid_utils.uuid7().bytes


@dataclass(frozen=True, slots=True)
class Minted:
    """New products: ids of 16 bytes in the order of their index, leaf hashes concatenated, and their COPY."""

    ids: list[bytes]
    leaf_hashes: bytes
    copy: bytes


class Minter:
    """Mints the products of one batch."""

    def __init__(self, new_id: RawIdSource, *, batch_id: bytes, template: bytes, kid: int) -> None:
        self._new_id = new_id
        self._batch_id = batch_id
        self._template_digest = attributes_digest(template)
        self._kid = kid

    def mint(self, first_index: int, attributes: Sequence[bytes | None]) -> Minted:
        """Products from `first_index` on, one for each of `attributes`, None being the batch's template."""
        batch, kid, new_id, pack = self._batch_id, self._kid, self._new_id, _ROW.pack
        ids = [new_id() for _ in attributes]
        leaves: list[bytes] = []
        rows: list[bytes] = [_HEADER]
        for index, (product_id, encoded) in enumerate(zip(ids, attributes, strict=True), first_index):
            size = _NULL if encoded is None else len(encoded)
            rows.append(pack(6, 16, product_id, 16, batch, 4, index, 2, kid, 2, _CREATED, size))
            if encoded is None:
                digest = self._template_digest
            else:
                rows.append(encoded)
                digest = attributes_digest(encoded)
            leaves.append(leaf_hash(product_leaf(batch, index, product_id, digest)))
        rows.append(_TRAILER)
        return Minted(ids, b"".join(leaves), b"".join(rows))

    def mint_alike(self, first_index: int, count: int) -> Minted:
        """So many products with the template's attributes."""
        return self.mint(first_index, list(repeat(None, count)))


class Tokens:
    """Gives products their tokens, also under keys that only verify by now."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._minter = TokenMinter(keyring)

    @property
    def kid(self) -> int:
        """The key that new products are issued under."""
        return self._keyring.signing_kid

    def fresh(self, product_ids: Iterable[bytes]) -> list[str]:
        """Tokens of new products."""
        return list(self._minter.mint_many(product_ids))

    def stored(self, products: Iterable[tuple[int, bytes]]) -> Iterator[str]:
        """Tokens of products issued before, each by the kid it was issued under."""
        for kid, product_id in products:
            tag = self._keyring.macs[kid][0].tag(bytes((kid,)) + product_id)
            yield encode(Token(kid, product_id, tag))
